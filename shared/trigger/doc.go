// Package trigger is what an event that starts a job gives it: the event as a file, its data as
// another, its attributes as variables, and parts of it as arguments.
package trigger
