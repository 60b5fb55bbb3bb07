//go:build race

package events_test

// memoryFactor is how much more memory a process takes with the race detector, which keeps a shadow
// of what was written.
const memoryFactor = 3
