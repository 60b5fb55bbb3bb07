// Command lines is a job that writes when it writes: a line with the time every so many
// milliseconds, until it is ended.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	every, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for range time.Tick(time.Duration(every) * time.Millisecond) {
		fmt.Println(time.Now().UnixNano())
	}
}
