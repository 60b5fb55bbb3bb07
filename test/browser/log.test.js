// Logs: as a terminal shows them, and larger than any terminal.
import {after, before, test} from 'node:test';
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {startServer, startBrowser, newPage, submit, finished} from './harness.js';
import {accessible} from './axe.js';

let server, browser;
const GiB = Number(process.env.LOG_BYTES || 2 ** 30);
before(async () => {
  browser = await startBrowser();
  server = await startServer({AUTH: 'open', MAX_LOG_BYTES: '2Gi'});
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const show = async (id, options) => {
  const p = await newPage(browser, server, options);
  const begun = Date.now();
  await p.page.goto(`${server.url}/ui/jobs/${id}`);
  await p.page.locator('.row').first().waitFor();
  p.took = Date.now() - begun;
  return p;
};

/**
 * watchFrames returns what ends the measuring, and tells how long the longest task of the tab has used
 * the processor, in ms: what a frame takes at least. Other programs of a busy machine do not count.
 */
const watchFrames = async p => {
  await browser.startTracing(p.page, {categories: ['toplevel', '__metadata']});
  return async () => {
    const {traceEvents} = JSON.parse(await browser.stopTracing());
    const pid = traceEvents.filter(e => e.name === 'RunTask' || e.name === 'ThreadControllerImpl::RunTask');
    const mains = new Set(traceEvents.filter(e => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map(e => `${e.pid} ${e.tid}`));
    const tasks = pid.filter(e => mains.has(`${e.pid} ${e.tid}`) && e.tdur !== undefined);
    assert.ok(tasks.length > 50, `only ${tasks.length} tasks were measured`);
    return Math.max(...tasks.map(e => e.tdur)) / 1000;
  };
};

/**
 * memory is what the process of the tab has to itself, in MB, as the browser's task manager shows it.
 * The tab's process is the largest of those that render.
 */
const memory = async p => {
  const cdp = await p.context.newCDPSession(p.page);
  await cdp.send('HeapProfiler.collectGarbage');
  const {processInfo} = await (await browser.newBrowserCDPSession()).send('SystemInfo.getProcessInfo');
  const own = pid => {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return [...rollup.matchAll(/^(?:Private_Dirty|SwapPss): +(\d+) kB/gm)].reduce((sum, [, kB]) => sum + Number(kB), 0) / 1024;
  };
  return Math.max(...processInfo.filter(i => i.type === 'renderer').map(i => own(i.id)));
};

const texts = page => page.locator('.row .text').allInnerTexts();

test('colours, attributes and progress bars are as in a terminal', async () => {
  const sent = await submit(server, {'a.py': String.raw`import sys
e = "\x1b["
w = sys.stdout.write
w(f"{e}31mred{e}0m {e}1;92mbold{e}0m {e}38;5;208morange{e}0m {e}38;2;1;2;3mtrue{e}0m {e}48;5;21;97mblue{e}0m {e}4munder{e}24m\n")
for i in range(0, 101, 5):
    w(f"\r{i:3}% {'#' * (i // 5)}")
w("\n")
w("long text\rshort\n")
w("erased line\r\x1b[Kkept\n")
w("ab\b\bAB\n")
w("\tindented\tx\n")
w("windows\r\n")
w("\x1b]8;;http://example.com\x07link\x1b]8;;\x07\n")
sys.stdout.flush()
sys.stdout.buffer.write(b"caf\xc3\xa9 \xff\xfe end\n")
`});
  await finished(server, sent.jobID);
  const p = await show(sent.jobID);
  const want = ['red bold orange true blue under', '100% ' + '#'.repeat(20), 'shorttext', 'kept', 'AB', '        indented        x', 'windows', 'link', 'café \ufffd\ufffd end'];
  await p.page.locator('.row').nth(want.length - 1).waitFor();
  assert.deepEqual(await texts(p.page), want);
  const style = text => p.page.locator('.row span span', {hasText: new RegExp(`^${text}$`)}).evaluate(e => {
    const s = getComputedStyle(e);
    return [s.color, s.fontWeight, s.backgroundColor, s.textDecorationLine];
  });
  assert.equal((await style('orange'))[0], 'rgb(255, 135, 0)');
  assert.equal((await style('true'))[0], 'rgb(1, 2, 3)');
  assert.equal((await style('bold'))[1], '700');
  assert.equal((await style('blue'))[2], 'rgb(0, 0, 255)');
  assert.equal((await style('under'))[3], 'underline');
  await p.check();
  await p.context.close();
});

test('streams, times, wrapping, search, lines and links to lines', async () => {
  const sent = await submit(server, {'a.py': 'import sys\nfor i in range(1, 3001): print(f"line {i} of many" + (" needle" if i % 1000 == 0 else ""), flush=i == 3000)\nprint("bad", file=sys.stderr)'});
  await finished(server, sent.jobID);
  const p = await show(sent.jobID);
  const {page} = p;
  await page.locator('.row.stderr', {hasText: 'bad'}).waitFor();
  await page.getByLabel('Search the log').fill('needle');
  await page.getByLabel('Search the log').press('Enter');
  await page.locator('.count', {hasText: '1 of 3'}).waitFor();
  await page.locator('.row.marked', {hasText: 'line 1000 of'}).waitFor();
  assert.equal(await page.locator('.row.marked .number').innerText(), '1000');
  await page.getByRole('button', {name: 'Next match'}).click();
  await page.locator('.row.marked', {hasText: 'line 2000 of'}).waitFor();
  await page.getByLabel('Go to a line').fill('1234');
  await page.getByLabel('Go to a line').press('Enter');
  await page.locator('.row.marked', {hasText: 'line 1234 of'}).waitFor();
  await page.locator('.row', {hasText: 'line 1236 of'}).locator('.number').click();
  const link = page.url();
  assert.match(link, /\?at=\d+/);
  await page.getByRole('button', {name: 'Begin'}).click();
  await page.locator('.row.marked', {hasText: 'line 1 of'}).waitFor();
  await page.locator('.viewport').hover();
  for (let i = 0; i < 30; i++) await page.mouse.wheel(0, 3000); // the rest is fetched while it scrolls
  await page.locator('.row', {hasText: 'line 3000 of'}).waitFor();
  assert.equal(await page.locator('.row', {hasText: 'line 3000 of'}).locator('.number').innerText(), '3000');
  await page.getByRole('button', {name: 'Times'}).click();
  await page.locator('.row .time', {hasText: /\d\d:\d\d:\d\d\.\d{3}/}).first().waitFor();
  await page.getByLabel('Stream').selectOption('stderr');
  await page.locator('.row', {hasText: 'bad'}).waitFor();
  assert.deepEqual(await texts(page), ['bad']);
  await accessible(page);
  await page.goto(link);
  await page.locator('.row.marked', {hasText: 'line 1236 of'}).waitFor();
  await p.check();
  await p.context.close();
});

test('two million short lines, while they are written', async t => {
  const sent = await submit(server, {'a.py': 'import sys, time\ntime.sleep(2)\nfor i in range(2000): sys.stdout.write("".join(f"line {i * 1000 + k}\\n" for k in range(1000)))\nprint("the last line")'});
  const p = await newPage(browser, server);
  await p.page.goto(`${server.url}/ui/jobs/${sent.jobID}`);
  await p.page.locator('.head .phase', {hasText: 'Running'}).waitFor();
  const measured = await watchFrames(p);
  await p.page.locator('.row', {hasText: 'the last line'}).waitFor();
  const longest = await measured();
  const used = await memory(p);
  t.diagnostic(`longest task ${Math.round(longest)} ms, memory ${Math.round(used)} MB`);
  assert.ok(used < 150, `${used} MB`);
  assert.ok(longest < 100, `a frame took ${longest} ms`);
  await p.page.getByLabel('Go to a line').fill('1000001');
  await p.page.getByLabel('Go to a line').press('Enter');
  await p.page.locator('.row.marked', {hasText: 'line 1000000'}).waitFor();
  await p.check();
  await p.context.close();
});

test('a log of 1 GiB', async t => {
  const sent = await submit(server, {'a.py': `import os
block = b"".join(b"%07d " % i + b"x" * 91 + b"\\n" for i in range(10486))
n, at = ${GiB}, 0
while at < n: at += os.write(1, block)
os.write(1, b"THE NEEDLE\\n")
`});
  await finished(server, sent.jobID);
  const p = await show(sent.jobID);
  t.diagnostic(`first screen after ${p.took} ms`);
  assert.ok(p.took < 3000, `the first screen took ${p.took} ms`); // a second, and what a busy machine adds
  await p.page.locator('.row', {hasText: 'THE NEEDLE'}).waitFor();
  const measured = await watchFrames(p);
  const begun = Date.now();
  await p.page.getByLabel('Search the log').fill('the needle');
  await p.page.getByLabel('Search the log').press('Enter');
  await p.page.locator('.count', {hasText: '1 of 1'}).waitFor();
  t.diagnostic(`searched in ${Date.now() - begun} ms`);
  await p.page.getByRole('button', {name: 'Begin'}).click();
  await p.page.locator('.row.marked', {hasText: '0000000'}).waitFor();
  await p.page.locator('.viewport').hover();
  for (let i = 0; i < 20; i++) await p.page.mouse.wheel(0, 20_000);
  await p.page.getByLabel('Go to a line').fill('5000000');
  await p.page.getByLabel('Go to a line').press('Enter');
  await p.page.locator('.row.marked').waitFor();
  const longest = await measured();
  const used = await memory(p);
  t.diagnostic(`longest task ${Math.round(longest)} ms, memory ${Math.round(used)} MB`);
  assert.ok(used < 150, `${used} MB`);
  assert.ok(longest < 100, `a frame took ${longest} ms`);
  await p.check();
  await p.context.close();
});
