// The page where callers log in at an OpenID Connect issuer. test/oidc starts both, and says where they
// are by PAGE_URL and PAGE_ISSUER.
import {after, before, test} from 'node:test';
import assert from 'node:assert/strict';
import {startBrowser, newPage} from './harness.js';
import {accessible} from './axe.js';

const {PAGE_URL: url, PAGE_ISSUER: issuer, PAGE_USER: user, PAGE_PASSWORD: password} = process.env;
let browser;
before(async () => { if (issuer) browser = await startBrowser(); });
after(() => browser?.close());

test('a person logs in at the issuer, at the address that was asked for, and out', {skip: !issuer}, async () => {
  const p = await newPage(browser, {url}, {ignoreHTTPSErrors: true, hosts: [new URL(issuer).host]});
  await p.page.goto(url + '/ui/?phase=Failed');
  await p.page.getByRole('heading', {name: 'Log in'}).waitFor();
  await accessible(p.page);
  await p.page.locator('a[href^="/ui/login/oidc"]').click();
  await p.page.locator('input[name=user]').fill(user);
  await p.page.locator('input[name=password]').fill(password);
  await p.page.getByRole('button', {name: 'Log in'}).click();
  await p.page.locator('.who', {hasText: user}).waitFor();
  assert.equal(p.page.url(), url + '/ui/?phase=Failed');
  const cookies = await p.context.cookies(url);
  assert.deepEqual(cookies.map(c => [c.name, c.httpOnly, c.secure, c.sameSite]), [['__Host-gojob', true, true, 'Lax']]);
  assert.deepEqual(await p.page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]), ['', 0, 0]);
  assert.equal(await p.page.getByRole('link', {name: 'Keys'}).count(), 0, 'keys are for admins');
  await p.page.reload();
  await p.page.locator('.who', {hasText: user}).waitFor();
  await p.page.getByRole('button', {name: 'Log out'}).click();
  await p.page.getByRole('heading', {name: 'Log in'}).waitFor();
  assert.deepEqual(await p.context.cookies(url), []);
  await p.check([/401/, /404/]); // not logged in; the issuer has no icon
});
