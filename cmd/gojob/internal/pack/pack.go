// Package pack packs a folder into an archive: which files belong to it, and a stream of them.
package pack
