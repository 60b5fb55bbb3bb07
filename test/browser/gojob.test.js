// The command line opens the page, signed in.
import {after, before, test} from 'node:test';
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {startServer, startBrowser, submit, finished, until} from './harness.js';

const gojob = process.env.GOJOB || new URL('../../bin/gojob', import.meta.url).pathname;
let server, browser;

before(async () => {
  browser = await startBrowser();
  server = await startServer({AUTH: 'keys'});
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test('gojob open leads to the page of a job, signed in, and the key stays out of the address', async () => {
  const job = await submit(server, {'a.py': 'print("opened by gojob")'});
  await finished(server, job.jobID);
  // The "browser" of gojob only notes what it is to open; Chromium opens it.
  const noted = join(server.dir, 'noted'), program = join(server.dir, 'note');
  await writeFile(program, `#!/bin/sh\nprintf %s "$1" >"${noted}.tmp" && mv "${noted}.tmp" "${noted}"\n`, {mode: 0o755});
  const child = spawn(gojob, ['open', job.jobID], {stdio: ['ignore', 'pipe', 'pipe'], env: {
    PATH: process.env.PATH, HOME: server.dir, XDG_CONFIG_HOME: server.dir, BROWSER: program,
    GOJOB_URL: server.url, GOJOB_TOKEN: server.key,
  }});
  let said = '';
  for (const out of [child.stdout, child.stderr]) out.on('data', d => { said += d; });
  const ended = new Promise(resolve => child.on('exit', resolve));
  const url = await until('gojob opens a browser', () => readFile(noted, 'utf8').catch(() => ''));
  assert.ok(!url.includes(server.key), url);
  const page = await browser.newPage();
  await page.goto(url);
  await page.locator('.row', {hasText: 'opened by gojob'}).waitFor();
  assert.equal(page.url(), `${server.url}/ui/jobs/${job.jobID}`);
  assert.equal(await ended, 0, said);
  assert.ok(!said.includes(server.key), said);
  const [cookie] = await page.context().cookies(server.url);
  assert.equal(cookie.name, '__Host-gojob');
  await page.reload();
  await page.locator('.row', {hasText: 'opened by gojob'}).waitFor();
});
