// Package follow reads the log of a job as it is written, and goes on where it was after every cut
// of the connection.
package follow
