// Measures the page on a server with some jobs, for make bench, and prints it as JSON: how many bytes
// are sent for it, after how many requests and ms the list shows, and how many ms after a click on a
// job its first line does.
import {startServer, startBrowser, newPage, submit, finished} from './harness.js';

const rounds = Number(process.argv[2] || 5);
const median = list => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
const server = await startServer({AUTH: 'open'});
const browser = await startBrowser();
let last;
for (let i = 0; i < 20; i++) last = await submit(server, {'a.py': `print("line", ${i})`});
await finished(server, last.jobID);
const lists = [], clicks = [];
let bytes = 0, requests = 0;
for (let i = 0; i < rounds; i++) {
  const p = await newPage(browser, server);
  const cdp = await p.context.newCDPSession(p.page);
  await cdp.send('Network.enable');
  bytes = 0;
  cdp.on('Network.responseReceived', e => {
    if (new URL(e.response.url).pathname.startsWith('/ui/')) bytes += Number(e.response.headers['Content-Length'] ?? e.response.headers['content-length'] ?? 0);
  });
  const begun = performance.now();
  await p.page.goto(server.url + '/ui/');
  await p.page.locator('.jobs tbody tr').first().waitFor();
  lists.push(performance.now() - begun);
  requests = p.requests.filter(r => !r.url().endsWith('.svg')).findIndex(r => r.url().includes('/api/v1/jobs?')) + 1;
  const clicked = performance.now();
  await p.page.locator(`.jobs a[href$="${last.jobID}"]`).click();
  await p.page.locator('.row', {hasText: 'line'}).first().waitFor();
  clicks.push(performance.now() - clicked);
  await p.context.close();
}
console.log(JSON.stringify({bytes, requests, list: median(lists), click: median(clicks)}));
await browser.close();
await server.stop();
