package spool

// Redirect has other files written to, as if these had become others.
func (w *Writer) Redirect(files Files) { w.files = files }
