package sandbox

import (
	"fmt"
	"path/filepath"
	"strings"
)

// systemFolders returns the folders that every program may read.
func systemFolders() []string {
	return []string{
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store", "/gnu/store",
		"/sys/devices/system/cpu", "/sys/devices/system/node", // the number and kind of processors
	}
}

// systemFiles returns what programs need of /etc: names, certificates, and the configuration of the
// dynamic linker and of the runtimes. None of it is secret.
func systemFiles() []string {
	list := []string{
		"passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "host.conf", "gai.conf", "services", "protocols",
		"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki",
		"crypto-policies",
		"alternatives", "mime.types", "localtime", "timezone", "fonts", "terminfo", "mailcap", "magic", "os-release",
	}
	for i, name := range list {
		list[i] = filepath.Join("/etc", name)
	}
	for _, pattern := range []string{"/etc/java*", "/etc/python3*"} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		list = append(list, found...)
	}
	return list
}

func devices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
}

// readable returns what Landlock lets a program read if the program sees the host's files.
func (req *request) readable() []string {
	list := append(append(systemFolders(), systemFiles()...), req.ReadPaths...)
	for _, path := range list {
		if real := realPath(path); real != path && !strings.HasPrefix(real, "/proc") {
			list = append(list, real)
		}
	}
	return append(list, "/proc")
}

// sharedMemory returns how many bytes files in /dev/shm may hold: the program's limit of memory or,
// without one, as much as in Docker.
func sharedMemory(limit int64) int64 {
	if limit > 0 {
		return limit
	}
	return 64 << 20
}

// The bounds of the number of files in /dev/shm. Each takes sharedInode bytes of the kernel's
// memory, with its name.
const (
	sharedInode     = 1 << 10
	minSharedInodes = 1 << 10
	maxSharedInodes = 1 << 16
)

// sharedOptions returns the mount options of /dev/shm.
func sharedOptions(bytes int64) string {
	inodes := min(max(bytes>>14, minSharedInodes), maxSharedInodes)
	return fmt.Sprintf("mode=1777,size=%d,nr_inodes=%d", bytes, inodes)
}
