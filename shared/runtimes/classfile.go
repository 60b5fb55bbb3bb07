package runtimes

import (
	"bufio"
	bin "encoding/binary"
	"io"
	"io/fs"
)

// classNameIn returns the name that a class file gives its class, such as com/example/Main, or "" if
// it is no class file (Java Virtual Machine Specification, chapter 4).
func classNameIn(files fs.FS, name string) string {
	f, err := files.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	in := bufio.NewReader(io.LimitReader(f, maxSource))
	var head struct {
		Magic        uint32
		Minor, Major uint16
		Count        uint16
	}
	const magic = 0xcafebabe
	if bin.Read(in, bin.BigEndian, &head) != nil || head.Magic != magic {
		return ""
	}
	texts, classes := map[uint16]string{}, map[uint16]uint16{}
	for i := uint16(1); i < head.Count; i++ {
		wide, err := readConstant(in, i, texts, classes)
		if err != nil {
			return ""
		}
		if wide {
			i++
		}
	}
	var this struct{ Flags, Class uint16 }
	if bin.Read(in, bin.BigEndian, &this) != nil {
		return ""
	}
	return texts[classes[this.Class]]
}

// readConstant reads an entry of the constant pool. It keeps texts, and the texts that classes are
// named by. A wide entry takes two numbers.
func readConstant(
	in *bufio.Reader, at uint16, texts map[uint16]string, classes map[uint16]uint16,
) (wide bool, err error) {
	const (
		text, class = 1, 7
		longest     = 1000 // a longer text is no name
	)
	tag, err := in.ReadByte()
	if err != nil {
		return false, err
	}
	// The sizes of the other constants, by their tags.
	sizes := map[byte]int{3: 4, 4: 4, 5: 8, 6: 8, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2,
		20: 2}
	switch size, known := sizes[tag]; {
	case known:
		_, err = in.Discard(size)
		return size == 8, err
	case tag != text && tag != class:
		return false, fs.ErrInvalid
	}
	var number uint16
	if err := bin.Read(in, bin.BigEndian, &number); err != nil {
		return false, err
	}
	if tag == class {
		classes[at] = number
		return false, nil
	}
	if number > longest {
		_, err = in.Discard(int(number))
		return false, err
	}
	b := make([]byte, number)
	_, err = io.ReadFull(in, b)
	texts[at] = string(b)
	return false, err
}
