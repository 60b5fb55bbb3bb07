//go:build !race

package events_test

// memoryFactor is how much more memory a process takes than one that is not under test.
const memoryFactor = 1
