// Package proctree ends a program with everything that it has started, and waits until nothing of
// it lives.
package proctree
