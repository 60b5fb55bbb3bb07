package archive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"go-job-orchestrator/shared/job"
)

// The directory of a zip file is read here and not by archive/zip, which keeps a record of any
// number of entries in memory, does not look for entries that overlap, and takes the place of the
// directory from wherever it seems to be.

// zipEntry is a record of the directory.
type zipEntry struct {
	Entry
	raw    string // its name as the file has it
	offset int64  // of its local header
	packed int64
	crc    uint32
	flags  uint16
	method uint16
	link   bool
}

// The methods of compression.
const (
	stored   = 0
	deflated = 8
)

// Sizes and signatures of the records of a zip file (APPNOTE.TXT, section 4.3).
const (
	localHeader, localSize = 0x04034b50, 30
	record, recordSize     = 0x02014b50, 46
	end, endSize           = 0x06054b50, 22
	end64, end64Size       = 0x06064b50, 56
	locator, locatorSize   = 0x07064b50, 20
	maxComment             = 1<<16 - 1
)

// ReadZip reads a zip file of that size and calls visit for each entry, in the order of their
// places in the file. A fault of the file is an error of kind job.ErrInvalid. Errors of r and of visit
// are returned as they are.
func ReadZip(r io.ReaderAt, size int64, l Limits, visit Visit) (Summary, error) {
	source := &countedAt{r: r}
	z := &zipScan{r: source, size: size, checker: newChecker(l), visit: visit}
	err := z.read()
	var visited *visitError
	if errors.As(err, &visited) {
		return Summary{}, visited.err
	}
	if err != nil {
		return Summary{}, broken(&counted{err: source.err}, job.Zip, err)
	}
	return z.checker.finish()
}

// countedAt keeps the error of its source.
type countedAt struct {
	r   io.ReaderAt
	err error
}

func (c *countedAt) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.r.ReadAt(p, at)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// zipScan reads one zip file.
type zipScan struct {
	r       *countedAt
	size    int64
	checker *checker
	visit   Visit
	start   int64 // of the directory
	entries []*zipEntry
}

func (z *zipScan) read() error {
	if err := z.directory(); err != nil {
		return err
	}
	if err := z.check(); err != nil {
		return err
	}
	for _, e := range z.entries {
		content := &zipContent{scan: z, entry: e}
		if e.link {
			var err error
			if e.Target, err = content.text(); err != nil {
				return err
			}
		}
		kept, err := z.checker.add(&e.Entry)
		if err != nil {
			return err
		}
		if !kept {
			continue
		}
		if err := z.visit(e.Entry, content); err != nil {
			if content.err != nil {
				return content.err
			}
			return &visitError{err}
		}
	}
	return nil
}

// trailer is where a zip file says where its directory is.
type trailer struct {
	disk, firstDisk   uint32
	here, all         uint64 // entries
	bytes, start, end uint64 // of the directory; end is the offset of the record that says so
}

func (z *zipScan) directory() error {
	t, err := z.trailer()
	if err != nil {
		return err
	}
	switch {
	case t.disk != 0 || t.firstDisk != 0 || t.here != t.all:
		return Fault("is a part of a zip file that was split; send it as one file")
	case t.all > uint64(z.checker.limits.Entries): //nolint:gosec // it is positive
		return tooMany(z.checker.limits)
	case t.start > t.end || t.bytes != t.end-t.start:
		return Fault("is not a proper zip file: its directory does not lie where it says; is there something before or " +
			"behind it, as in a self-extracting file?")
	}
	z.start = int64(t.start) //nolint:gosec // it is less than the size
	length := int64(t.bytes) //nolint:gosec // it lies in the file
	in := bufio.NewReaderSize(io.NewSectionReader(z.r, z.start, length), 64<<10)
	for range t.all {
		e, err := readRecord(in)
		if err != nil {
			return err
		}
		z.entries = append(z.entries, e)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return Fault("is not a proper zip file: its directory is longer than its number of entries says")
	}
	return nil
}

// trailer finds the record at the end, behind which a comment may follow.
func (z *zipScan) trailer() (t trailer, err error) {
	tail := make([]byte, min(z.size, endSize+maxComment))
	if err := z.readAt(tail, z.size-int64(len(tail))); err != nil {
		return t, err
	}
	for i := len(tail) - endSize; i >= 0; i-- {
		b := tail[i:]
		if binary.LittleEndian.Uint32(b) != end || int(binary.LittleEndian.Uint16(b[20:])) != len(b)-endSize {
			continue
		}
		t = trailer{
			disk: uint32(binary.LittleEndian.Uint16(b[4:])), firstDisk: uint32(binary.LittleEndian.Uint16(b[6:])),
			here: uint64(binary.LittleEndian.Uint16(b[8:])), all: uint64(binary.LittleEndian.Uint16(b[10:])),
			bytes: uint64(binary.LittleEndian.Uint32(b[12:])), start: uint64(binary.LittleEndian.Uint32(b[16:])),
			end: uint64(z.size) - uint64(len(b)), //nolint:gosec // it is positive
		}
		return z.trailer64(t)
	}
	return t, io.ErrUnexpectedEOF
}

// trailer64 reads the record of a large zip file (ZIP64), if there is one.
func (z *zipScan) trailer64(t trailer) (trailer, error) {
	const all16, all32 = 1<<16 - 1, 1<<32 - 1
	if t.all != all16 && t.here != all16 && t.bytes != all32 && t.start != all32 || t.end < locatorSize+end64Size {
		return t, nil
	}
	b := make([]byte, locatorSize)
	if err := z.readAt(b, int64(t.end)-locatorSize); err != nil { //nolint:gosec // it is less than the size
		return t, err
	}
	if binary.LittleEndian.Uint32(b) != locator {
		return t, nil // it has just as many entries as the short record can say
	}
	at := binary.LittleEndian.Uint64(b[8:])
	if at > t.end-locatorSize-end64Size {
		return t, errors.New("its ZIP64 record lies outside of it")
	}
	b = make([]byte, end64Size)
	if err := z.readAt(b, int64(at)); err != nil { //nolint:gosec // it is less than the size
		return t, err
	}
	if binary.LittleEndian.Uint32(b) != end64 {
		return t, errors.New("its ZIP64 record is missing")
	}
	return trailer{
		disk: binary.LittleEndian.Uint32(b[16:]), firstDisk: binary.LittleEndian.Uint32(b[20:]),
		here: binary.LittleEndian.Uint64(b[24:]), all: binary.LittleEndian.Uint64(b[32:]),
		bytes: binary.LittleEndian.Uint64(b[40:]), start: binary.LittleEndian.Uint64(b[48:]), end: at,
	}, nil
}

func (z *zipScan) readAt(p []byte, at int64) error {
	n, err := z.r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// check refuses entries that share bytes, which a bomb does, and content that is too large for the
// file.
func (z *zipScan) check() error {
	slices.SortStableFunc(z.entries, func(a, b *zipEntry) int {
		switch {
		case a.offset < b.offset:
			return -1
		case a.offset > b.offset:
			return 1
		}
		return 0
	})
	var unpacked, before int64
	for _, e := range z.entries {
		if e.offset < before {
			return faultIn(e.Name, "overlaps with another entry of the zip file")
		}
		// The local header has the name once more.
		room := z.start - e.offset - localSize - int64(len(e.Name))
		if e.offset > z.start || room < 0 || e.packed > room {
			return faultIn(e.Name, "lies outside of the zip file")
		}
		before = e.offset + localSize + int64(len(e.Name)) + e.packed
		if e.Size > z.checker.limits.Unpacked-unpacked {
			return faultIn(e.Name, tooLarge(z.checker.limits))
		}
		unpacked += e.Size
	}
	if inflates(z.size, unpacked) {
		return errInflates()
	}
	return nil
}

// readRecord reads a record of the directory.
func readRecord(in *bufio.Reader) (*zipEntry, error) {
	var b [recordSize]byte
	if _, err := io.ReadFull(in, b[:]); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(b[:]) != record {
		return nil, errors.New("its directory is broken")
	}
	e := &zipEntry{
		flags: binary.LittleEndian.Uint16(b[8:]), method: binary.LittleEndian.Uint16(b[10:]),
		crc: binary.LittleEndian.Uint32(b[16:]), packed: int64(binary.LittleEndian.Uint32(b[20:])),
		offset: int64(binary.LittleEndian.Uint32(b[42:])),
	}
	e.Size = int64(binary.LittleEndian.Uint32(b[24:]))
	rest := make([]byte, int(binary.LittleEndian.Uint16(b[28:]))+int(binary.LittleEndian.Uint16(b[30:])))
	if _, err := io.ReadFull(in, rest); err != nil {
		return nil, err
	}
	name, extra := rest[:binary.LittleEndian.Uint16(b[28:])], rest[binary.LittleEndian.Uint16(b[28:]):]
	if _, err := in.Discard(int(binary.LittleEndian.Uint16(b[32:]))); err != nil {
		return nil, err
	}
	if len(name) > 2*job.MaxOutputNameBytes {
		return nil, faultIn(string(name), fmt.Sprintf("the path is longer than %d bytes", job.MaxOutputNameBytes))
	}
	e.raw = string(name)
	e.Name = e.raw
	if err := e.large(extra); err != nil {
		return nil, err
	}
	return e, e.classify(b[5], binary.LittleEndian.Uint32(b[38:]))
}

// large reads the numbers that do not fit into the record from its extra field for ZIP64.
func (e *zipEntry) large(extra []byte) error {
	const zip64, all = 1, 1<<32 - 1
	var values []byte
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break // some programs pad the field
		}
		if id == zip64 {
			values = extra[:n]
			break
		}
		extra = extra[n:]
	}
	for _, number := range []*int64{&e.Size, &e.packed, &e.offset} {
		if *number != all {
			continue
		}
		if len(values) < 8 {
			if values == nil {
				continue // it has just that size
			}
			return faultIn(e.Name, "its ZIP64 field is too short")
		}
		v := binary.LittleEndian.Uint64(values)
		if values = values[8:]; v > 1<<62 {
			return faultIn(e.Name, "lies outside of the zip file")
		}
		*number = int64(v)
	}
	return nil
}

// The systems whose modes a zip file has, and the types of files in a mode of Unix.
const (
	unix, macOS                    = 3, 19
	typeMask                       = 0xf000
	typeFile, typeFolder, typeLink = 0x8000, 0x4000, 0xa000
	dosFolder                      = 0x10
)

// classify finds out what the entry is, and refuses what cannot be unpacked.
func (e *zipEntry) classify(system byte, attributes uint32) error {
	const encrypted, strongly, masked = 1, 1 << 6, 1 << 13
	if e.flags&(encrypted|strongly|masked) != 0 {
		return faultIn(e.Name, "is encrypted; make the zip file without a password")
	}
	if e.method != stored && e.method != deflated {
		return faultIn(e.Name, fmt.Sprintf("is compressed by method %d; make the zip file with deflate, the usual one",
			e.method))
	}
	e.Kind = File
	if len(e.Name) > 0 && e.Name[len(e.Name)-1] == '/' || attributes&dosFolder != 0 && e.Size == 0 {
		e.Kind = Folder
	}
	if mode := attributes >> 16; (system == unix || system == macOS) && mode != 0 {
		e.HasMode, e.Executable = true, mode&0o100 != 0
		switch mode & typeMask {
		case 0, typeFile:
		case typeFolder:
			e.Kind = Folder
		case typeLink:
			e.Kind, e.link = Link, true
		default:
			return faultIn(e.Name, "is a device or FIFO; only files, folders and links can be sent")
		}
	}
	if e.Kind == Folder && e.Size != 0 {
		return faultIn(e.Name, "is a folder that has content")
	}
	if e.method == stored && e.Size != e.packed {
		return faultIn(e.Name, "has two sizes that differ, though it is not compressed")
	}
	return nil
}
