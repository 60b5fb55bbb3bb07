package project

import (
	"bufio"
	"bytes"
	"compress/flate"
	bin "encoding/binary"
	"io"
	"strings"
)

// manifestName is the name of a jar's manifest in the jar.
const manifestName = "META-INF/MANIFEST.MF"

// isProgram reports whether a jar names its main class.
func (t *Tree) isProgram(jar string) bool {
	for line := range strings.Lines(manifest(t.heads[jar])) {
		if name, _, found := strings.Cut(line, ":"); found && strings.EqualFold(name, "Main-Class") {
			return true
		}
	}
	return false
}

// manifest returns the manifest of a jar from the jar's first bytes, or "". Jars have it among their
// first entries, so the directory at their end is not needed.
func manifest(head []byte) string {
	const signature, size = 0x04034b50, 30
	in := bufio.NewReader(bytes.NewReader(head))
	for {
		var b [size]byte
		if _, err := io.ReadFull(in, b[:]); err != nil || bin.LittleEndian.Uint32(b[:]) != signature {
			return ""
		}
		name := make([]byte, bin.LittleEndian.Uint16(b[26:]))
		if _, err := io.ReadFull(in, name); err != nil {
			return ""
		}
		if _, err := in.Discard(int(bin.LittleEndian.Uint16(b[28:]))); err != nil {
			return ""
		}
		flags, method := bin.LittleEndian.Uint16(b[6:]), bin.LittleEndian.Uint16(b[8:])
		packed := int64(bin.LittleEndian.Uint32(b[18:]))
		text, ok := content(in, method, packed)
		if !ok {
			return ""
		}
		if string(name) == manifestName {
			return text
		}
		if flags&8 != 0 && !skipDescriptor(in) {
			return ""
		}
	}
}

// content reads the content of an entry. Deflated content says itself where it ends.
func content(in *bufio.Reader, method uint16, packed int64) (string, bool) {
	const stored, deflated = 0, 8
	switch method {
	case stored:
		text, err := io.ReadAll(io.LimitReader(in, packed))
		return string(text), err == nil
	case deflated:
		// A manifest is small; an entry before it that is not ends the search.
		text, err := io.ReadAll(io.LimitReader(flate.NewReader(in), 4*contentBytes))
		return string(text), err == nil && len(text) < 4*contentBytes
	}
	return "", false
}

// skipDescriptor skips the sizes that follow the content of an entry: with or without a signature.
func skipDescriptor(in *bufio.Reader) bool {
	n := 12
	if b, err := in.Peek(4); err == nil && bin.LittleEndian.Uint32(b) == 0x08074b50 {
		n += 4
	}
	_, err := in.Discard(n)
	return err == nil
}
