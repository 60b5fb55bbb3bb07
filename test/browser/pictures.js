// Takes the pictures of docs/page.md: node pictures.js ../../docs/images
import {join} from 'node:path';
import {startServer, startBrowser, newPage, submit, finished} from './harness.js';

const to = process.argv[2];
const server = await startServer({AUTH: 'open', MAX_CONCURRENT_JOBS: '4'});
const browser = await startBrowser();

const report = `import os, struct, sys, time, zlib
e = "\\x1b["
def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
print(f"{e}1mReading orders{e}0m from 14 shops")
for i in range(0, 101, 4):
    print(f"\\r{e}36m{i:3}%{e}0m |{'█' * (i // 4):<25}|", end="", flush=True); time.sleep(0.01)
print()
for shop, n in [("Berlin", 1312), ("Lyon", 988), ("Porto", 407), ("Turku", 251)]:
    print(f"{shop:<8}{e}32m{n:>6} orders{e}0m")
print("two orders have no address", file=sys.stderr)
print(f"{e}33mWrote{e}0m chart.png and orders.csv")
w, h = 480, 160
bars = [30, 52, 47, 80, 66, 94, 120, 101, 132, 118, 126, 140]
def pixel(x, y):
    k = x // 40
    return (36, 86, 196) if x % 40 < 30 and h - y < bars[k] else (250, 250, 248)
raw = b"".join(b"\\0" + b"".join(bytes(pixel(x, y)) for x in range(w)) for y in range(h))
out = os.environ["OUTPUT_DIR"]
open(out + "/chart.png", "wb").write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
open(out + "/orders.csv", "w").write("shop,orders\\nBerlin,1312\\nLyon,988\\n")
`;
const jobs = [
  await submit(server, {'nightly.py': 'import time; time.sleep(2.2)'}, {name: 'Nightly cleanup', labels: '{"team":"ops"}'}),
  await submit(server, {'resize.js': 'console.log("done"); setTimeout(() => {}, 900)'}, {name: 'Resize pictures'}),
  await submit(server, {'import.py': 'import sys, time; time.sleep(0.5); sys.exit(3)'}, {name: 'Import of customers', labels: '{"team":"data"}'}),
  await submit(server, {'train.py': 'x = []\nwhile True: x.append("a" * 10**6 + str(len(x)))'}, {name: 'Train the model', memory: '256Mi', labels: '{"team":"data"}'}),
];
for (const j of jobs) await finished(server, j.jobID);
const monthly = await submit(server, {'report.py': report}, {name: 'Monthly report', memory: '512Mi', labels: '{"team":"data","stage":"live"}'});
await finished(server, monthly.jobID);
await submit(server, {'crawl.py': 'import time\nfor i in range(600): print("page", i, flush=True); time.sleep(0.3)'}, {name: 'Crawl the shops'});

const shoot = async (name, path, options, act = async () => {}) => {
  const p = await newPage(browser, server, {viewport: {width: 1180, height: 760}, locale: 'en-GB', ...options});
  await p.page.goto(server.url + path);
  await p.page.locator('h1').waitFor();
  await act(p.page);
  await p.page.screenshot({path: join(to, name + '.png')});
  await p.context.close();
};
const logShown = async page => {
  await page.locator('.row').first().waitFor();
  await page.locator('.preview img').waitFor();
  await page.mouse.move(0, 0);
};
const listShown = page => page.locator('.phase.Running').waitFor();
await shoot('page-jobs', '/ui/', {}, listShown);
await shoot('page-job', '/ui/jobs/' + monthly.jobID, {colorScheme: 'dark', viewport: {width: 1180, height: 980}}, logShown);
await shoot('page-new', '/ui/new', {}, async page => {
  await page.locator('[data-files]').setInputFiles([{name: 'main.py', mimeType: 'text/x-python', buffer: Buffer.from(report)},
    {name: 'requirements.txt', mimeType: 'text/plain', buffer: Buffer.from('matplotlib\n')}]);
  await page.getByLabel('Memory').fill('lots');
  await page.getByRole('button', {name: 'Run', exact: true}).click();
  await page.locator('#fault-memory').waitFor();
});
await shoot('page-narrow', '/ui/', {viewport: {width: 360, height: 760}, colorScheme: 'dark'}, listShown);
await browser.close();
await server.stop();
