// Package download stores files of a job on this machine: resumed, checked, and never outside of
// the folder that was named.
package download
