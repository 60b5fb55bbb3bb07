// The page on a server where everybody may call: list, job, log, new job, actions, previews.
import {after, before, describe, test} from 'node:test';
import assert from 'node:assert/strict';
import {mkdir, mkdtemp, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {startServer, startBrowser, newPage, submit, finished, until} from './harness.js';
import {accessible} from './axe.js';
import {startIndex} from './index.js';

let server, browser, index;
before(async () => {
  browser = await startBrowser();
  index = await startIndex();
  server = await startServer({MAX_CONCURRENT_JOBS: '6', AUTH: 'open', PIP_INDEX_URL: index.url});
});
after(async () => {
  index?.stop();
  await browser?.close();
  await server?.stop();
});

const slow = `import time
for i in range(1000): print("tick", i, flush=True); time.sleep(0.1)
`;

const row = (page, id) => page.locator('.jobs tbody tr', {has: page.locator(`a[href$="${id}"]`)});
const phase = (page, word) => page.locator('.head .phase', {hasText: word}).waitFor();

describe('jobs', () => {
  test('the list shows after four requests, and a job that curl has sent within a second', async () => {
    await submit(server, {'first.py': 'print(1)'});
    const p = await newPage(browser, server);
    await p.page.goto(server.url + '/ui/');
    await p.page.locator('.jobs tbody tr').first().waitFor();
    const last = p.requests.findIndex(r => r.url().includes('/api/v1/jobs?'));
    const before = p.requests.slice(0, last + 1).filter(r => !r.url().endsWith('.svg'));
    assert.ok(before.length <= 4, before.map(r => r.url()).join('\n'));
    await until('the list is followed', () => p.requests.some(r => r.url().includes('/jobs/events')));
    const begun = Date.now();
    const sent = await submit(server, {'second.py': slow}, {name: 'A second one'});
    await row(p.page, sent.jobID).waitFor();
    const took = Date.now() - begun;
    assert.ok(took < 3000, `it took ${took} ms to show`); // a second, and what a busy machine adds
    await row(p.page, sent.jobID).locator('.phase.Running').waitFor();
    await p.page.getByText('1 of 6 running').waitFor();
    await fetch(`${server.url}/api/v1/jobs/${sent.jobID}/cancel`, {method: 'POST'});
    await row(p.page, sent.jobID).locator('.phase.Cancelled').waitFor();
    await fetch(`${server.url}/api/v1/jobs/${sent.jobID}`, {method: 'DELETE'});
    await row(p.page, sent.jobID).waitFor({state: 'detached'});
    await accessible(p.page);
    await p.check();
    await p.context.close();
  });

  test('filters are in the address, and the back button goes back', async () => {
    const good = await submit(server, {'a.py': 'print(1)'}, {labels: '{"team":"x"}'});
    const bad = await submit(server, {'a.py': 'raise SystemExit(3)'}, {labels: '{"team":"x"}'});
    await finished(server, good.jobID);
    await finished(server, bad.jobID);
    const p = await newPage(browser, server);
    await p.page.goto(server.url + '/ui/?label=team%3Dx');
    await row(p.page, good.jobID).waitFor();
    assert.equal(await p.page.locator('.jobs tbody tr').count(), 2);
    await p.page.getByRole('button', {name: 'Failed'}).click();
    await row(p.page, good.jobID).waitFor({state: 'detached'});
    assert.match(p.page.url(), /phase=Failed/);
    await row(p.page, bad.jobID).locator('a').first().click();
    await phase(p.page, 'Failed');
    assert.equal(await p.page.locator('.sentence').innerText(), 'The program ended with exit code 3.');
    await p.page.goBack();
    await row(p.page, bad.jobID).waitFor();
    assert.match(p.page.url(), /label=team%3Dx&phase=Failed|phase=Failed&label=team%3Dx/);
    await p.page.reload();
    await row(p.page, bad.jobID).waitFor();
    assert.equal(await p.page.locator('.jobs tbody tr').count(), 1);
    await p.page.goBack();
    await row(p.page, good.jobID).waitFor();
    await p.check();
    await p.context.close();
  });

  test('a lost connection is told, and what was missed is shown', async () => {
    const own = await startServer({AUTH: 'open', PORT: '0'});
    const port = own.port, data = own.dir;
    const p = await newPage(browser, own);
    await submit(own, {'a.py': 'print(1)'});
    await p.page.goto(own.url + '/ui/');
    await p.page.locator('.jobs tbody tr').first().waitFor();
    await own.kill();
    await p.page.getByText('The connection was lost').waitFor();
    const again = await startServer({AUTH: 'open', PORT: port, STORAGE_DIR: join(data, 'data')});
    const sent = await submit(again, {'b.py': 'print(2)'}, {name: 'Meanwhile'});
    await row(p.page, sent.jobID).waitFor();
    await p.page.getByText('The connection was lost').waitFor({state: 'detached'});
    await p.check([/ERR_CONNECTION|ERR_INCOMPLETE|Failed to load/]);
    await p.context.close();
    await again.stop();
  });

  test('a hidden page keeps no connection', async () => {
    const p = await newPage(browser, server);
    const sent = await submit(server, {'slow.py': slow});
    await p.page.goto(`${server.url}/ui/jobs/${sent.jobID}`);
    await p.page.locator('.row').first().waitFor();
    const open = new Set();
    p.page.on('request', r => open.add(r));
    p.page.on('requestfinished', r => open.delete(r));
    p.page.on('requestfailed', r => open.delete(r));
    const hide = hidden => p.page.evaluate(hidden => {
      Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    await hide(false); // so that this test sees the requests begin
    await until('both streams are open', () => open.size === 2);
    await hide(true);
    await until('no stream is open', () => open.size === 0);
    await hide(false);
    await until('both streams are open again', () => open.size === 2);
    await p.page.getByRole('button', {name: 'Cancel', exact: true}).click();
    await p.page.getByRole('button', {name: 'Cancel the job'}).click();
    await phase(p.page, 'Cancelled');
    await p.check([/ERR_ABORTED/]);
    await p.context.close();
  });
});

describe('a job', () => {
  test('phases and lines come by themselves; cancel, run again, share, delete', async () => {
    const p = await newPage(browser, server);
    const sent = await submit(server, {'slow.py': slow}, {name: 'Slow one'});
    await p.page.goto(`${server.url}/ui/jobs/${sent.jobID}`);
    await phase(p.page, 'Running');
    await p.page.locator('.row', {hasText: 'tick 20'}).waitFor();
    // A line is there within a second after it was written.
    const late = await p.page.evaluate(async () => {
      const rows = () => [...document.querySelectorAll('.row .text')].map(r => r.textContent);
      const last = () => Number(/\d+/.exec(rows().findLast(text => /\d/.test(text)))[0]); // a line may come in parts
      const from = last(), at = performance.now();
      while (last() < from + 20) await new Promise(requestAnimationFrame);
      return performance.now() - at;
    });
    assert.ok(late < 5000, `20 lines, which take 2 s, took ${late} ms`);
    await accessible(p.page);
    await p.page.getByRole('button', {name: 'Cancel', exact: true}).click();
    await accessible(p.page);
    await p.page.getByRole('button', {name: 'Keep it'}).click();
    await p.page.getByRole('button', {name: 'Cancel', exact: true}).click();
    await p.page.getByRole('button', {name: 'Cancel the job'}).click();
    await phase(p.page, 'Cancelled');
    await p.page.getByRole('button', {name: 'Share'}).click();
    await p.page.getByRole('button', {name: 'Make a link'}).click();
    const link = await p.page.locator('dialog .copy code').innerText();
    await p.page.getByRole('button', {name: 'Close'}).click();
    await p.page.getByRole('button', {name: 'Run again'}).click();
    await p.page.waitForURL(u => !u.pathname.endsWith(sent.jobID));
    await phase(p.page, 'Running');
    await p.page.locator('.row', {hasText: 'tick'}).first().waitFor();
    await p.page.getByRole('button', {name: 'Delete'}).click();
    await p.page.getByRole('button', {name: 'Delete it'}).click();
    await p.page.waitForURL(server.url + '/ui/');
    await p.check();

    const guest = await newPage(browser, server);
    await guest.page.goto(link);
    await guest.page.locator('.row', {hasText: 'tick'}).first().waitFor();
    assert.equal(guest.page.url(), `${server.url}/ui/jobs/${sent.jobID}`);
    assert.equal(await guest.page.getByRole('button', {name: 'Delete'}).count(), 0);
    assert.equal(await guest.page.evaluate(() => Object.values(localStorage).join()), '');
    assert.ok(!guest.requests.some(r => r.url().includes(link.split('=')[1])), 'the token is in an address');
    await guest.check();
    await guest.context.close();
    await p.context.close();
  });

  test('reasons are sentences', async () => {
    const hungry = await submit(server, {'a.py': 'x = []\nwhile True: x.append("a" * 10**6 + str(len(x)))'}, {memory: '64Mi'});
    const late = await submit(server, {'a.py': 'import time; time.sleep(100)'}, {timeoutSeconds: '1'});
    const p = await newPage(browser, server);
    for (const [sent, want] of [[hungry, 'Killed: it used more than its 64 MiB. Ask for more with memory=128Mi.'],
      [late, 'Stopped: it was not done after 1.0 s. Give it longer with timeoutSeconds=2.']]) {
      await finished(server, sent.jobID);
      await p.page.goto(`${server.url}/ui/jobs/${sent.jobID}`);
      await phase(p.page, 'Failed');
      assert.equal(await p.page.locator('.sentence').innerText(), want);
    }
    await p.check();
    await p.context.close();
  });

  test('outputs are previewed, and nothing of them is obeyed', async () => {
    const sent = await submit(server, {'a.py': `import base64, os, json
out = os.environ["OUTPUT_DIR"]
open(out + "/dot.png", "wb").write(base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="))
open(out + "/table.csv", "w").write('name,"a, b"\\n' + "".join(f"row {i},{i}\\n" for i in range(500)))
open(out + "/data.json", "w").write(json.dumps({"a": [1, 2]}))
open(out + "/evil.html", "w").write("<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>")
open(out + "/evil.svg", "w").write("<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'/>")
print("<script>window.pwned=1</script> <img src=x onerror='window.pwned=1'>")
print("user\\u202etxt.exe \\x07\\x00 \\x1b]0;title\\x07after")
`});
    await finished(server, sent.jobID);
    const p = await newPage(browser, server);
    await p.page.goto(`${server.url}/ui/jobs/${sent.jobID}`);
    await p.page.locator('.preview img').waitFor(); // the picture shows by itself
    assert.equal(await p.page.locator('.preview img').evaluate(async i => { await i.decode(); return i.naturalWidth; }), 1);
    await p.page.getByRole('button', {name: 'table.csv'}).click();
    await p.page.locator('.data th', {hasText: 'a, b'}).waitFor();
    assert.equal(await p.page.locator('.data tbody tr').count(), 200);
    await p.page.getByRole('button', {name: 'data.json'}).click();
    await p.page.locator('.preview pre', {hasText: '"a": ['}).waitFor();
    for (const name of ['evil.html', 'evil.svg']) {
      await p.page.getByRole('button', {name}).click();
      await p.page.locator('.preview pre', {hasText: 'pwned'}).waitFor();
    }
    assert.equal(await p.page.locator('.row .text').nth(0).innerText(), "<script>window.pwned=1</script> <img src=x onerror='window.pwned=1'>");
    assert.equal(await p.page.locator('.row .text').nth(1).innerText(), 'user⟨U+202E⟩txt.exe ␀ after');
    assert.equal(await p.page.evaluate(() => window.pwned), undefined);
    const [got] = await Promise.all([p.page.waitForEvent('download'), p.page.getByRole('link', {name: 'Download table.csv'}).click()]);
    assert.equal(got.suggestedFilename(), 'table.csv');
    const [all] = await Promise.all([p.page.waitForEvent('download'), p.page.getByRole('link', {name: 'Download all'}).click()]);
    assert.match(all.suggestedFilename(), /\.zip$/);
    await accessible(p.page);
    await p.check();
    await p.context.close();
  });
});

describe('a new job', () => {
  test('a folder is dropped: it is prepared, runs, and its picture shows', async t => {
    const dir = join(await mkdtemp(join(tmpdir(), 'project-')), 'project');
    await mkdir(join(dir, 'lib', 'size'), {recursive: true});
    await mkdir(join(dir, 'node_modules'));
    await writeFile(join(dir, 'node_modules', 'left.js'), '');
    await writeFile(join(dir, 'lib', 'size', '__init__.py'), 'w = h = 64\n');
    await writeFile(join(dir, 'requirements.txt'), 'shapes==1.0\n');
    await writeFile(join(dir, 'main.py'), `import os, struct, zlib, time
from shapes import colour
from lib.size import w, h
def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
raw = b"".join(b"\\0" + bytes([x * 4, y * 4, colour()][k] for x in range(w) for k in range(3)) for y in range(h))
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
print("drawing")
time.sleep(1)
open(os.environ["OUTPUT_DIR"] + "/picture.png", "wb").write(png)
`);
    const p = await newPage(browser, server);
    await p.page.goto(server.url + '/ui/new');
    const box = await p.page.locator('.dropzone').boundingBox();
    const cdp = await p.context.newCDPSession(p.page);
    const drag = type => cdp.send('Input.dispatchDragEvent', {type, x: box.x + 50, y: box.y + 20,
      data: {items: [], files: [dir], dragOperationsMask: 1}});
    for (const type of ['dragEnter', 'dragOver', 'drop']) await drag(type);
    await p.page.locator('.files .name', {hasText: 'main.py'}).waitFor();
    const names = await p.page.locator('.files .name').allInnerTexts();
    assert.deepEqual(names.sort(), ['lib/size/__init__.py', 'main.py', 'requirements.txt']);
    await accessible(p.page);
    const phases = [];
    await p.page.exposeFunction('phaseShown', text => phases.push(text));
    await p.page.evaluate(() => new MutationObserver(() => {
      const text = document.querySelector('.head .phase')?.textContent;
      if (text && text !== window.lastPhase) phaseShown(window.lastPhase = text);
    }).observe(document.body, {subtree: true, childList: true, characterData: true}));
    await p.page.getByRole('button', {name: 'Run', exact: true}).click();
    await phase(p.page, 'Succeeded');
    await p.page.locator('.row', {hasText: 'drawing'}).waitFor();
    await p.page.locator('.preview img').waitFor();
    assert.equal(await p.page.locator('.preview img').evaluate(async i => { await i.decode(); return i.naturalWidth; }), 64);
    assert.deepEqual(phases.filter(p => p !== 'Pending'), ['Preparing', 'Running', 'Succeeded']);
    await p.check();
    await p.context.close();
  });

  test('faults show at their fields, and what is right then runs', async () => {
    const p = await newPage(browser, server);
    await p.page.goto(server.url + '/ui/new');
    await p.page.getByRole('button', {name: 'Run', exact: true}).click();
    await p.page.locator('#files-fault', {hasText: /\w/}).waitFor();
    await p.page.getByText('Or write a script here').click();
    await p.page.getByLabel('Script', {exact: true}).fill('import os, sys\nprint("hello", sys.argv[1:], os.environ["MODE"])');
    await p.page.getByLabel('Memory').fill('lots');
    await p.page.getByLabel('Time limit').fill('-1');
    await p.page.getByRole('button', {name: 'Run', exact: true}).click();
    await p.page.locator('#fault-memory', {hasText: 'quantity'}).waitFor();
    await p.page.locator('#fault-timeoutSeconds', {hasText: 'whole number'}).waitFor();
    assert.ok(await p.page.evaluate(() => document.activeElement.getAttribute('aria-invalid') === 'true'), 'the first fault has the focus');
    await accessible(p.page);
    await p.page.getByLabel('Memory').fill('256Mi');
    await p.page.getByLabel('Time limit').fill('60');
    await p.page.getByLabel('Arguments').fill('a b\n"c"');
    await p.page.getByText('More: environment').click();
    await p.page.getByLabel('Environment').fill('MODE=fast');
    await p.page.getByLabel('Labels').fill('from=page');
    await p.page.getByRole('button', {name: 'Run', exact: true}).click();
    await p.page.locator('.row', {hasText: `hello ['a b', '"c"'] fast`}).waitFor();
    await phase(p.page, 'Succeeded');
    // The same again, with another program.
    await p.page.getByRole('link', {name: 'Edit and run'}).click();
    assert.equal(await p.page.getByLabel('Environment').inputValue(), 'MODE=fast');
    assert.equal(await p.page.getByLabel('Memory').inputValue(), '256Mi');
    await p.page.getByLabel('Script', {exact: true}).fill('print("other")');
    await p.page.getByRole('button', {name: 'Run', exact: true}).click();
    await p.page.locator('.row', {hasText: 'other'}).waitFor();
    await p.check([/422/]);
    await p.context.close();
  });

  test('a template is kept, started and deleted', async () => {
    const p = await newPage(browser, server);
    await p.page.goto(server.url + '/ui/new');
    await p.page.locator('[data-files]').setInputFiles({name: 'greet.py', mimeType: 'text/x-python', buffer: Buffer.from('import sys\nprint("hi", *sys.argv[1:])')});
    await p.page.getByText('More: environment').click();
    await p.page.getByLabel('Keep it as a template').check();
    await p.page.getByLabel('Name of the template').fill('greet');
    await p.page.getByRole('button', {name: 'Save the template'}).click();
    await p.page.waitForURL('**/ui/templates/greet');
    await accessible(p.page);
    await p.page.getByLabel('More arguments').fill('ann');
    await p.page.getByRole('button', {name: 'Run', exact: true}).click();
    await p.page.locator('.row', {hasText: 'hi ann'}).waitFor();
    await p.page.getByRole('link', {name: 'Templates'}).click();
    await accessible(p.page);
    await p.page.getByRole('link', {name: 'greet'}).click();
    await p.page.getByRole('button', {name: 'Delete'}).click();
    await p.page.getByRole('button', {name: 'Delete it'}).click();
    await p.page.getByText('There are no templates yet').waitFor();
    await p.check();
    await p.context.close();
  });

  test('by the keyboard alone', async () => {
    const p = await newPage(browser, server);
    const {page} = p;
    await page.goto(server.url + '/ui/');
    await page.locator('h1').waitFor();
    /** reach presses Tab until an element has the focus. */
    const reach = async (what, back = false) => {
      for (let i = 0; i < 80; i++) {
        await page.keyboard.press(back ? 'Shift+Tab' : 'Tab');
        if (await page.evaluate(what => (document.activeElement.getAttribute('aria-label') || document.activeElement.innerText ||
          document.activeElement.labels?.[0]?.innerText || '').startsWith(what), what)) return;
      }
      assert.fail('the keyboard does not reach ' + what);
    };
    await reach('New job');
    await page.keyboard.press('Enter');
    await reach('Or write a script');
    await page.keyboard.press('Enter');
    await reach('Script');
    await page.keyboard.type('import time\nprint("typed", flush=True)\ntime.sleep(300)');
    await reach('Run');
    await page.keyboard.press('Enter');
    await page.locator('.row', {hasText: 'typed'}).waitFor();
    await reach('Lines of the log');
    await page.keyboard.press('/');
    await page.keyboard.type('typed\n');
    await page.locator('.count', {hasText: '1 of 1'}).waitFor();
    await reach('Cancel', true);
    await page.keyboard.press('Enter');
    await page.locator('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('dialog').waitFor({state: 'detached'});
    await page.keyboard.press('Enter'); // the focus is back where it was
    await reach('Cancel the job');
    await page.keyboard.press('Enter');
    await phase(page, 'Cancelled');
    await p.check();
    await p.context.close();
  });
});

describe('looks', () => {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [320, 1280, 3840]) {
      test(`${colorScheme}, ${width} px wide`, async () => {
        const sent = await submit(server, {'a.py': 'import sys\nfor i in range(30, 48): print(f"\\x1b[{i}mcolour\\x1b[0m", "x" * 200)\nprint("bad", file=sys.stderr)'},
          {name: 'A name that is so long that it does not fit into one line of a narrow window at all', labels: '{"team":"data","stage":"test"}'});
        await finished(server, sent.jobID);
        const p = await newPage(browser, server, {colorScheme, viewport: {width, height: 900}});
        for (const path of ['/ui/', '/ui/new', '/ui/templates', '/ui/jobs/' + sent.jobID]) {
          await p.page.goto(server.url + path);
          await p.page.locator('h1').waitFor();
          if (path.includes('jobs/')) await p.page.locator('.row').first().waitFor();
          await accessible(p.page);
          const wide = await p.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wide <= 0, `${path} is ${wide} px wider than the window`);
        }
        await p.check();
        await p.context.close();
      });
    }
  }
});
