//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJIT runs what makes code while it runs, and what shares memory: runtimes do both with calls
// that are denied, where they have them.
func TestJIT(t *testing.T) {
	t.Parallel()
	const loop = `long n = 0; for (int i = 0; i < 200_000_000; i++) n += i ^ (n << 1); System.out.println("sum " + n);`
	java := "public class X { public static void main(String[] a) throws Exception { " + loop +
		"var s = new java.net.ServerSocket(0); var c = new java.net.Socket(); c.setReceiveBufferSize(1 << 20);" +
		"c.connect(new java.net.InetSocketAddress(\"127.0.0.1\", s.getLocalPort())); c.getOutputStream().write(7); " +
		"System.out.println(s.accept().getInputStream().read());" +
		"System.out.println(java.net.NetworkInterface.networkInterfaces().count() > 0); } }"
	node := `
const code = Uint8Array.from([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]);
const add = new WebAssembly.Instance(new WebAssembly.Module(code)).exports.add;
let s = 0; for (let i = 0; i < 1e7; i++) s = add(s, i);
const {Worker} = require('worker_threads'); const shared = new SharedArrayBuffer(4);
new Worker('const {workerData} = require("worker_threads"); new Int32Array(workerData)[0] = 7', {eval: true, workerData: shared})
  .on('exit', () => console.log(s, new Int32Array(shared)[0], Object.keys(require('os').networkInterfaces()).length));
const http = require('http'); const server = http.createServer((q, r) => r.end('hello')).listen(0, '127.0.0.1', () =>
  http.get({port: server.address().port}, r => r.on('data', d => console.log(String(d))).on('end', () => server.close())));
`
	python := `
import ctypes, multiprocessing as m, subprocess, socket, tempfile, asyncio
callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: n + 1)
def work(n): return n * 2
async def child():
    p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)
    return (await p.communicate(b'cat'))[0]
if __name__ == '__main__':
    assert callback(6) == 7
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    assert socket.getaddrinfo('localhost', 80)
    assert subprocess.run(['sh', '-c', 'echo x | cat'], capture_output=True).stdout == b'x\n'
    assert asyncio.run(child()) == b'cat'
    SHM
    print('done')
`
	shared := `
    from multiprocessing import shared_memory
    with m.Pool(2) as p: assert p.map(work, [1, 2]) == [2, 4]
    b = shared_memory.SharedMemory(create=True, size=1 << 20); b.buf[0] = 7; b.unlink()
    q = m.Queue(); p = m.Process(target=q.put, args=(7,)); p.start(); assert q.get() == 7; p.join()`
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		text := python
		replace := "pass"
		if b.Level() != Landlock { // /dev/shm is the machine's there
			replace = shared[5:]
		}
		text = strings.Replace(text, "SHM", replace, 1)
		for name, test := range map[string]struct {
			path, file, text string
			args             []string
		}{
			"python":         {"/usr/bin/python3", "x.py", text, nil},
			"node":           {"/usr/bin/node", "x.js", node, nil},
			"java":           {"/usr/bin/java", "X.java", java, nil},
			"java, ZGC":      {"/usr/bin/java", "X.java", java, []string{"-XX:+UseZGC", "-Xmx256m"}},
			"java, large":    {"/usr/bin/java", "X.java", java, []string{"-XX:+UseLargePages", "-Xmx256m"}},
			"java, C2 alone": {"/usr/bin/java", "X.java", java, []string{"-XX:+UseParallelGC", "-XX:-TieredCompilation"}},
		} {
			if name == "java, ZGC" && b.Level() == Landlock {
				continue // its heap is in memfd_create or in /dev/shm
			}
			if _, err := os.Stat(test.path); err != nil {
				t.Logf("%s is not installed", name)
				continue
			}
			p := b.program("")
			if err := os.WriteFile(filepath.Join(p.Workspace, test.file), []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			p.Path, p.Args = test.path, append(test.args, test.file)
			p.OpenFiles, p.Processes, p.MemoryBytes = 1024, 512, 1<<30
			if exit, out := b.run(p); exit.Code != 0 {
				t.Errorf("%s: %+v: %s", name, exit, out)
			}
		}
	})
}

// TestPretended asks for what is answered as done: nothing may come of it.
func TestPretended(t *testing.T) {
	t.Parallel()
	const text = `
import ctypes, os, socket
libc = ctypes.CDLL(None)
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(family, kind)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            before = s.getsockopt(socket.SOL_SOCKET, option)
            s.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
            assert libc.syscall(54, s.fileno(), ctypes.c_long(7 << 32 | socket.SOL_SOCKET), ctypes.c_long(9 << 32 | option), ctypes.byref(ctypes.c_int(1 << 20)), 4) == 0
            assert s.getsockopt(socket.SOL_SOCKET, option) == before, (family, kind, option)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
assert libc.prctl(4, 0, 0, 0, 0) == 0 and libc.prctl(3, 0, 0, 0, 0) == 1
assert libc.prctl(15, b'name', 0, 0, 0) == 0 and open('/proc/self/comm').read() == 'name\n'
`
	for _, level := range []Level{Namespaces, Landlock} {
		s, err := Open(t.Context(), Config{levels: []Level{level}})
		if err != nil {
			t.Fatal(err)
		}
		b := &box{s, t}
		if exit, out := b.run(b.python(text)); exit.Code != 0 {
			t.Errorf("%s: %+v: %s", level, exit, out)
		}
	}
}
