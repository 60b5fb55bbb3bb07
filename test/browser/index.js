// A small index of Python packages (PEP 503) with one package, which answers slowly.
import {spawnSync} from 'node:child_process';
import {createServer} from 'node:http';
import {mkdtemp, readFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const make = `
import base64, hashlib, sys, zipfile
files = {"shapes.py": "def colour(): return 77\\n",
  "shapes-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: shapes\\nVersion: 1.0\\n",
  "shapes-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
record = "".join(f"{n},sha256={digest(t)},{len(t)}\\n" for n, t in files.items()) + "shapes-1.0.dist-info/RECORD,,\\n"
with zipfile.ZipFile(sys.argv[1], "w") as z:
  for n, t in [*files.items(), ("shapes-1.0.dist-info/RECORD", record)]: z.writestr(n, t)
`;
const wheel = 'shapes-1.0-py3-none-any.whl';

/** startIndex serves the package "shapes", and returns the URL of the index and what stops it. */
export async function startIndex() {
  const path = join(await mkdtemp(join(tmpdir(), 'index-')), wheel);
  const made = spawnSync('python3', ['-c', make, path], {encoding: 'utf8'});
  if (made.status !== 0) throw new Error(made.stderr);
  const data = await readFile(path);
  const server = createServer((q, s) => {
    if (q.url.endsWith('.whl')) return setTimeout(() => s.end(data), 1500);
    s.setHeader('Content-Type', 'text/html');
    s.end(`<!DOCTYPE html><a href="/files/${wheel}">${wheel}</a>`);
  }).listen(0, '127.0.0.1');
  await new Promise(r => server.on('listening', r));
  return {url: `http://127.0.0.1:${server.address().port}/simple`, stop: () => server.close()};
}
