// A real browser logs in, agrees and logs out; scripts are off, and its console must stay silent.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import puppeteer from 'puppeteer-core';

const told = JSON.parse(process.argv[2]);
const seen = [];
// The client's own address: the browser really arrives there.
const app = createServer((request, reply) => { seen.push(request.url); reply.end('<title>arrived</title>'); });
await new Promise((done) => app.listen(Number(new URL(told.app).port), '127.0.0.1', done));
const browser = await puppeteer.launch({ executablePath: told.chromium, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
try {
  const page = await browser.newPage();
  await page.setJavaScriptEnabled(false);
  const complaints = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('requestfailed', (request) => complaints.push(`${request.url()} ${request.failure().errorText}`));
  const query = new URLSearchParams({ response_type: 'code', client_id: 'browser', redirect_uri: told.app, scope: 'openid email', state: 'st' });
  const auth = `${told.issuer}/protocol/openid-connect/auth?${query}`;
  await page.goto(auth);
  const width = await page.$eval('input[name=username]', (field) => field.getBoundingClientRect().width).catch(() => 0);
  assert.ok(width > 100, 'the style sheet applies');
  await page.type('input[name=username]', told.username);
  await page.type('input[name=password]', told.password);
  if (told.picture) await page.screenshot({ path: told.picture });
  await Promise.all([page.waitForNavigation(), page.click('button[type=submit]')]);
  assert.equal(await page.title(), 'Allow access', await page.content());
  await Promise.all([page.waitForNavigation(), page.click('button[value=allow]')]);
  assert.equal(await page.title(), 'arrived', `${page.url()} ${complaints}`);
  const back = new URL(page.url());
  assert.ok(back.searchParams.get('code') && back.searchParams.get('state') === 'st' && back.searchParams.get('iss') === told.issuer);
  await page.goto(auth);
  assert.equal(await page.title(), 'arrived', 'logged in already');
  await page.goto(`${told.issuer}/protocol/openid-connect/logout`);
  await Promise.all([page.waitForNavigation(), page.click('button[type=submit]')]);
  assert.equal(await page.title(), 'Logged out');
  await page.goto(auth);
  assert.equal(await page.title(), 'Log in');
  assert.deepEqual(complaints.filter((text) => !text.includes('favicon')), []);
} finally {
  await browser.close();
  app.close();
}
console.log('all done');
