package archive

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// zipContent reads the content of an entry of a zip file. It finds it when the first byte is read.
type zipContent struct {
	scan  *zipScan
	entry *zipEntry
	r     io.Reader
	left  int64
	crc   uint32
	err   error // other than io.EOF
}

func (c *zipContent) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // an error that wraps it is another one
		c.err = err
	}
	return n, err
}

func (c *zipContent) read(p []byte) (int, error) {
	if c.r == nil {
		if err := c.open(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	c.crc = crc32.Update(c.crc, crc32.IEEETable, p[:n])
	switch {
	case c.left < 0:
		return 0, faultIn(c.entry.Name, "is larger than the zip file says")
	case err == io.EOF && c.left > 0: // it is the reader's own
		return n, faultIn(c.entry.Name, "is smaller than the zip file says")
	case err == io.EOF && c.crc != c.entry.crc: // it is the reader's own
		return n, faultIn(c.entry.Name, "is damaged: its checksum (CRC-32) is wrong")
	}
	return n, err
}

// open looks at the entry's local header, which must say the same as the directory.
func (c *zipContent) open() error {
	z, e := c.scan, c.entry
	var b [localSize]byte
	if err := z.readAt(b[:], e.offset); err != nil {
		return err
	}
	name := make([]byte, binary.LittleEndian.Uint16(b[26:]))
	extra := int64(binary.LittleEndian.Uint16(b[28:]))
	if binary.LittleEndian.Uint32(b[:]) != localHeader || len(name) != len(e.raw) {
		return faultIn(e.Name, "is not where the directory of the zip file says")
	}
	if err := z.readAt(name, e.offset+localSize); err != nil {
		return err
	}
	if string(name) != e.raw || binary.LittleEndian.Uint16(b[8:]) != e.method {
		return faultIn(e.Name, "has another name or method in the directory of the zip file than beside its content")
	}
	start := e.offset + localSize + int64(len(name)) + extra
	if e.packed > z.start-start {
		return faultIn(e.Name, "lies outside of the zip file")
	}
	c.left = e.Size
	packed := io.NewSectionReader(z.r, start, e.packed)
	if e.method == stored {
		c.r = packed
		return nil
	}
	c.r = flate.NewReader(bufio.NewReaderSize(packed, int(min(e.packed+1, 64<<10))))
	return nil
}

// text returns the content of a link: its target.
func (c *zipContent) text() (string, error) {
	if c.entry.Size > maxTarget {
		return "", faultIn(c.entry.Name, "is a link whose target is too long")
	}
	text, err := io.ReadAll(c)
	return string(text), err
}
