// The page where callers have keys: login, what each role sees, the cookie, and forged requests.
import {after, before, test} from 'node:test';
import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {startServer, startBrowser, newPage, submit, finished, auth} from './harness.js';
import {accessible} from './axe.js';

let server, browser, user, reader;

const makeKey = async (name, role) => {
  const answer = await fetch(server.url + '/api/v1/keys', {method: 'POST', headers: {...auth(server), 'Content-Type': 'application/json'},
    body: JSON.stringify({name, owner: 'ann', role})});
  assert.equal(answer.status, 201);
  return answer.json();
};

before(async () => {
  browser = await startBrowser();
  server = await startServer({AUTH: 'keys'});
  user = await makeKey('ann-laptop', 'user');
  reader = await makeKey('ann-wall', 'read');
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const logIn = async (page, key) => {
  await page.getByLabel('Key').fill(key);
  await page.getByRole('button', {name: 'Log in'}).click();
};

test('a key logs in, at the address that was asked for, and the cookie is out of reach', async () => {
  const mine = await submit({...server, key: user.key}, {'a.py': 'print("of ann")'});
  const foreign = await submit(server, {'a.py': 'print("of the admin")'});
  await finished(server, mine.jobID);
  await finished(server, foreign.jobID);
  const p = await newPage(browser, server);
  await p.page.goto(`${server.url}/ui/jobs/${mine.jobID}`);
  await p.page.getByRole('heading', {name: 'Log in'}).waitFor();
  await accessible(p.page);
  await logIn(p.page, 'gojob_nonsense');
  await p.page.locator('#key-fault', {hasText: /\w/}).waitFor();
  await logIn(p.page, user.key);
  await p.page.locator('.row', {hasText: 'of ann'}).waitFor();
  assert.ok(!p.page.url().includes('gojob_'));
  const [cookie] = await p.context.cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path],
    ['__Host-gojob', true, true, 'Lax', '/']);
  assert.ok(!cookie.value.includes(user.key));
  assert.deepEqual(await p.page.evaluate(() => [document.cookie, Object.values(localStorage).join(), Object.values(sessionStorage).join()]),
    ['', '', '']);
  // Another owner's job looks like none, and keys are for admins.
  await p.page.goto(`${server.url}/ui/jobs/${foreign.jobID}`);
  await p.page.getByText('There is no such job').waitFor();
  await p.page.goto(server.url + '/ui/');
  await p.page.locator('.jobs tbody tr').first().waitFor();
  assert.equal(await p.page.locator('.jobs tbody tr').count(), 1);
  await p.page.locator('.who', {hasText: 'ann'}).waitFor();
  assert.equal(await p.page.getByRole('link', {name: 'Keys'}).count(), 0);
  await p.page.goto(`${server.url}/ui/jobs/${mine.jobID}`);
  await p.page.getByRole('link', {name: 'Download stdout.log'}).waitFor();
  const [got] = await Promise.all([p.page.waitForEvent('download'), p.page.getByRole('link', {name: 'Download stdout.log'}).click()]);
  assert.equal(await got.failure(), null);
  await p.page.getByRole('button', {name: 'Run again'}).click();
  await p.page.locator('.head .phase', {hasText: 'Succeeded'}).waitFor();
  await p.page.getByRole('button', {name: 'Log out'}).click();
  await p.page.getByRole('heading', {name: 'Log in'}).waitFor();
  assert.deepEqual(await p.context.cookies(), []);
  await p.check([/401|404/]);
  await p.context.close();
});

test('a link with a key logs in, and the key leaves the address at once', async () => {
  const p = await newPage(browser, server);
  await p.page.goto(`${server.url}/ui/#token=${user.key}`);
  await p.page.locator('.who', {hasText: 'ann'}).waitFor();
  assert.equal(p.page.url(), server.url + '/ui/');
  assert.ok(!p.requests.some(r => r.url().includes(user.key)));
  await p.check();
  await p.context.close();
});

test('a reader sees nothing that changes something', async () => {
  const mine = await submit({...server, key: user.key}, {'a.py': 'print("x")'});
  await finished(server, mine.jobID);
  const p = await newPage(browser, server);
  await p.page.goto(`${server.url}/ui/#token=${reader.key}`);
  await p.page.locator('.who').waitFor();
  await p.page.goto(`${server.url}/ui/jobs/${mine.jobID}`);
  await p.page.locator('.row').first().waitFor();
  await p.page.locator('.who').waitFor();
  assert.deepEqual(await p.page.locator('.job .actions button').allInnerTexts(), []);
  assert.equal(await p.page.getByRole('link', {name: 'New', exact: true}).count(), 0);
  await p.check();
  await p.context.close();
});

test('an admin makes and revokes keys; a revoked key ends its session', async () => {
  const p = await newPage(browser, server);
  await p.page.goto(`${server.url}/ui/#token=${server.key}`);
  await p.page.getByRole('link', {name: 'Keys'}).click();
  await p.page.getByLabel('Name').waitFor();
  await p.page.getByRole('button', {name: 'Make it'}).click();
  await p.page.locator('#kf-name').waitFor();
  await p.page.getByLabel('Name').fill('bob-laptop');
  await p.page.getByLabel('Owner').fill('bob');
  await p.page.getByLabel('Valid for').fill('1d');
  await p.page.getByRole('button', {name: 'Make it'}).click();
  const key = await p.page.locator('.made .copy code').innerText();
  await accessible(p.page);
  const bob = await newPage(browser, server);
  await bob.page.goto(`${server.url}/ui/#token=${key}`);
  await bob.page.locator('.who', {hasText: 'bob'}).waitFor();
  await p.page.getByRole('button', {name: 'Revoke bob-laptop'}).click();
  await p.page.getByRole('button', {name: 'Revoke it'}).click();
  await p.page.getByRole('button', {name: 'Revoke bob-laptop'}).waitFor({state: 'detached'});
  await bob.page.reload();
  await bob.page.getByRole('heading', {name: 'Log in'}).waitFor();
  await p.check([/422/]);
  await p.context.close();
  await bob.context.close();
});

test('a page of another site can do nothing with the session', async t => {
  const mine = await submit({...server, key: user.key}, {'a.py': 'import time; time.sleep(100)'});
  const other = createServer((q, s) => s.setHeader('Content-Type', 'text/html').end('<h1>other</h1>')).listen(0, '127.0.0.1');
  await new Promise(r => other.on('listening', r));
  t.after(() => other.close());
  const p = await newPage(browser, server, {hosts: []});
  await p.page.goto(`${server.url}/ui/#token=${user.key}`);
  await p.page.locator('.who').waitFor();
  const path = `/api/v1/jobs/${mine.jobID}/cancel`;
  const evil = await p.context.newPage();
  await evil.goto(`http://127.0.0.1:${other.address().port}/`);
  const status = await evil.evaluate(async url => {
    const out = [];
    for (const options of [{mode: 'no-cors'}, {mode: 'cors', headers: {'X-Gojob': '1'}}]) {
      out.push(await fetch(url, {method: 'POST', credentials: 'include', ...options}).then(r => r.type, () => 'refused'));
    }
    return out;
  }, server.url + path);
  assert.deepEqual(status, ['opaque', 'refused']);
  // The same site, without the header of the page: as a form of it would send it.
  const cookie = (await p.context.cookies()).map(c => `${c.name}=${c.value}`).join('; ');
  const bare = await fetch(server.url + path, {method: 'POST', headers: {Cookie: cookie}});
  assert.equal(bare.status, 403);
  assert.match((await bare.json()).detail, /X-Gojob/);
  const job = await (await fetch(`${server.url}/api/v1/jobs/${mine.jobID}`, {headers: auth(server)})).json();
  assert.notEqual(job.phase, 'Cancelled');
  const good = await fetch(server.url + path, {method: 'POST', headers: {Cookie: cookie, 'X-Gojob': '1'}});
  assert.equal(good.status, 200);
  await p.context.close();
});
