// Package trigger makes the input of a job from the event that starts it: the event and its data
// as files, its attributes as variables, and parts of it as arguments.
package trigger
