// Package job is the vocabulary of the orchestrator: what a Job, its phases, reasons, files and
// attempts are, and which values of them are valid. It imports the standard library only.
package job
