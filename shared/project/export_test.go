package project

// Kept returns how many bytes of files are kept.
func (t *Tree) Kept() (n int64) {
	for _, head := range t.heads {
		n += int64(len(head))
	}
	return n
}
