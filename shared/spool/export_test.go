package spool

// Redirect has other files written to, as if these had become others.
func (w *Writer) Redirect(files Files) { w.files = files }

// ExactUpTo has the order become coarser after so many records.
func (w *Writer) ExactUpTo(records int64) { w.exact = records }
