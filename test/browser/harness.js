// Real servers and a real browser for the tests of the page.
import {spawn} from 'node:child_process';
import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import assert from 'node:assert/strict';
import {chromium} from 'playwright-core';

const binary = process.env.SERVER || new URL('../../bin/all', import.meta.url).pathname;
const chrome = process.env.CHROMIUM || '/usr/bin/chromium';

/** patience is how long a condition may take on a busy machine, in ms. */
export const patience = 60_000;

/** startServer starts the one process, and returns {url, key, dir, log, stop}. */
export async function startServer(vars = {}, t) {
  const dir = await mkdtemp(join(tmpdir(), 'page-'));
  const child = spawn(binary, {
    env: {PATH: process.env.PATH, HOME: dir, PORT: '0', STORAGE_DIR: join(dir, 'data'), KILL_GRACE: '1s', ...vars},
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const server = {dir, log: '', key: ''};
  child.stderr.on('data', d => { server.log += d; });
  const ended = new Promise(resolve => child.on('exit', resolve));
  server.stop = async () => {
    child.kill('SIGTERM');
    await ended;
    await rm(dir, {recursive: true, force: true});
  };
  server.kill = async () => { child.kill('SIGKILL'); await ended; };
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const wanted = /AUTH/.test(Object.keys(vars).join()) && String(vars.AUTH).includes('keys') && !vars.KEYS_FILE;
  for (;;) {
    const {value, done} = await lines.next();
    if (done) throw new Error('the server has not started: ' + server.log);
    server.url = /Listening on (http:\/\/\S+?)[, ]/.exec(value)?.[1] ?? server.url;
    server.key = /gojob_\w+/.exec(value)?.[0] ?? server.key;
    if (server.url && (server.key || !wanted)) break;
  }
  server.port = new URL(server.url).port;
  if (t) t.after(server.stop);
  return server;
}

/** startBrowser starts Chromium. */
export async function startBrowser() {
  return chromium.launch({executablePath: chrome, args: ['--no-sandbox', '--disable-gpu'], headless: true});
}

/**
 * newPage opens a tab that watches for what must not happen: errors in the console, faults of scripts,
 * requests to other hosts, and reports of the policy. check() fails if something did.
 */
export async function newPage(browser, server, options = {}) {
  const context = await browser.newContext({viewport: {width: 1280, height: 900}, ...options});
  const page = await context.newPage();
  const faults = [], requests = [];
  const host = new URL(server.url).host;
  page.on('console', m => { if (m.type() === 'error' || m.type() === 'warning') faults.push('console: ' + m.text()); });
  page.on('pageerror', e => faults.push('error: ' + e.stack));
  page.on('request', r => {
    requests.push(r);
    const u = new URL(r.url());
    if (u.protocol !== 'blob:' && u.host !== host && !(options.hosts ?? []).includes(u.host)) faults.push('request to ' + r.url());
  });
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', e => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
  });
  page.setDefaultTimeout(patience);
  return {
    context, page, requests, faults,
    async check(allowed = []) {
      const violations = await page.evaluate(() => globalThis.violations ?? []);
      const bad = faults.filter(f => !allowed.some(a => a.test(f)));
      assert.deepEqual([...bad, ...violations], []);
    },
  };
}

/** submit sends a job by the API, as curl does, and returns the answer. */
export async function submit(server, files, fields = {}, {headers = {}} = {}) {
  const form = new FormData();
  for (const [name, text] of Object.entries(files)) form.append('files', new Blob([text]), name);
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  const answer = await fetch(server.url + '/api/v1/jobs', {method: 'POST', body: form, headers: {...auth(server), ...headers}});
  const body = await answer.json();
  assert.equal(answer.status, 201, JSON.stringify(body));
  return body;
}

export const auth = server => server.key ? {Authorization: 'Bearer ' + server.key} : {};

/** finished waits until a job is over, and returns it. */
export async function finished(server, id) {
  for (;;) {
    const answer = await fetch(`${server.url}/api/v1/jobs/${id}`, {headers: {Prefer: 'wait=30', ...auth(server)}});
    const job = await answer.json();
    assert.equal(answer.status, 200, JSON.stringify(job));
    if (job.finishedAt) return job;
  }
}

/** until waits for a condition of this side. */
export async function until(what, condition) {
  const end = Date.now() + patience;
  for (;;) {
    const got = await condition();
    if (got) return got;
    if (Date.now() > end) assert.fail('this has not happened: ' + what);
    await new Promise(r => setTimeout(r, 20));
  }
}
