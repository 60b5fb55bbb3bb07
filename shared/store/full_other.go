//go:build !unix

package store

func isFull(error) bool              { return false }
func isBadName(error) bool           { return false }
func isInTheWay(error) bool          { return false }
func freeBytes(string) (int64, bool) { return 0, false }
