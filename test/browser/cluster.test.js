// The page of an installed cluster, through front: PAGE_URL and PAGE_KEY say which, see test/e2e.
import {after, before, test} from 'node:test';
import assert from 'node:assert/strict';
import {startBrowser, newPage} from './harness.js';

const url = process.env.PAGE_URL;
let browser;
before(async () => { if (url) browser = await startBrowser(); });
after(() => browser?.close());

test('a script is submitted, followed, and its output looked at', {skip: !url}, async () => {
  const p = await newPage(browser, {url});
  await p.page.goto(`${url}/ui/new#token=${process.env.PAGE_KEY}`);
  await p.page.getByText('Or write a script here').click();
  await p.page.getByLabel('Script', {exact: true}).fill(`import os, time
for i in range(5): print("line", i, flush=True); time.sleep(1)
open(os.environ["OUTPUT_DIR"] + "/table.csv", "w").write("a,b\\n1,2\\n")
`);
  await p.page.getByRole('button', {name: 'Run', exact: true}).click();
  await p.page.locator('.row', {hasText: 'line 2'}).waitFor();
  assert.equal(await p.page.locator('.head .phase', {hasText: 'Succeeded'}).count(), 0, 'lines come while it runs');
  await p.page.locator('.head .phase', {hasText: 'Succeeded'}).waitFor();
  await p.page.getByRole('button', {name: 'table.csv'}).click();
  await p.page.locator('.data td', {hasText: '2'}).waitFor();
  await p.page.getByRole('link', {name: 'Jobs'}).last().click();
  await p.page.locator('.jobs tbody tr').first().waitFor();
  await p.check();
});
