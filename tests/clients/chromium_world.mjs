// A real browser logs in to a provider of a world and comes back to the application; scripts are off.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import puppeteer from 'puppeteer-core';

const told = JSON.parse(process.argv[2]);
const [base, realm] = told.issuer.split('/realms/');
const form = (fields) => ({ method: 'POST', body: new URLSearchParams(fields) });
const token = await (await fetch(`${told.adminIssuer}/protocol/openid-connect/token`, form({
  grant_type: 'client_credentials', client_id: 'netengine-api', client_secret: told.apiSecret,
}))).json();
const headers = { authorization: `Bearer ${token.access_token}`, 'content-type': 'application/json' };
const client = { clientId: 'browser', redirectUris: [`${told.app}/callback`], standardFlowEnabled: true, consentRequired: true };
const made = await fetch(`${base}/admin/realms/${realm}/clients`, { method: 'POST', headers, body: JSON.stringify(client) });
assert.equal(made.status, 201);

const app = createServer((request, reply) => reply.end('<title>arrived</title>'));
await new Promise((done) => app.listen(Number(new URL(told.app).port), done));
const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium', userDataDir: `${process.env.HOME}/chromium`,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
});
try {
  const page = await browser.newPage();
  await page.setJavaScriptEnabled(false);
  const complaints = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('requestfailed', (request) => complaints.push(`${request.url()} ${request.failure().errorText}`));
  const query = new URLSearchParams({ response_type: 'code', client_id: 'browser', redirect_uri: `${told.app}/callback`, scope: 'openid email', state: 'st' });
  const auth = `${told.issuer}/protocol/openid-connect/auth?${query}`;
  // The world's certificate is believed without a question, and the connection is what the browser calls secure.
  const reply = await page.goto(auth);
  const security = reply.securityDetails();
  assert.ok(security && security.subjectAlternativeNames().includes(new URL(told.issuer).hostname), String(security?.subjectName()));
  await page.type('input[name=username]', told.username);
  await page.type('input[name=password]', told.password);
  await Promise.all([page.waitForNavigation(), page.click('button[type=submit]')]);
  assert.equal(await page.title(), 'Allow access', await page.content());
  await Promise.all([page.waitForNavigation(), page.click('button[value=allow]')]);
  assert.equal(await page.title(), 'arrived', `${page.url()} ${complaints}`);
  const back = new URL(page.url());
  assert.ok(back.searchParams.get('code') && back.searchParams.get('state') === 'st' && back.searchParams.get('iss') === told.issuer);
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
