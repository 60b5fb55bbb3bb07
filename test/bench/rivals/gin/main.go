// Command gin takes an uploaded file as Gin's own documentation has it: FormFile and
// SaveUploadedFile, nothing else.
package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/gin-gonic/gin"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	dir := os.Getenv("STORAGE_DIR")
	var number atomic.Int64
	router.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok") })
	router.POST("/api/v1/jobs", func(c *gin.Context) {
		file, err := c.FormFile("files")
		if err != nil {
			c.String(http.StatusBadRequest, err.Error())
			return
		}
		name := strconv.FormatInt(number.Add(1), 10)
		if err := c.SaveUploadedFile(file, filepath.Join(dir, name)); err != nil {
			c.String(http.StatusInternalServerError, err.Error())
			return
		}
		c.JSON(http.StatusCreated, gin.H{"name": name})
	})
	fmt.Fprintln(os.Stderr, router.Run(":"+os.Getenv("PORT")))
	os.Exit(1)
}
