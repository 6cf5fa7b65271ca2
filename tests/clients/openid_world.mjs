// openid-client (certified relying party) against a provider of a world, with nothing but the world's own trust.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import * as jose from 'jose';
import * as oidc from 'openid-client';
import { Browser } from './browser.mjs';

const told = JSON.parse(process.argv[2]);
const issuer = new URL(told.issuer);
const [base, realm] = told.issuer.split('/realms/');

async function rejects(promise, error) {
  await assert.rejects(promise, (thrown) => {
    assert.equal(thrown.error ?? thrown.cause?.error ?? thrown.code, error, String(thrown.stack));
    return true;
  });
}

// Client credentials of the world's own API client; its token opens the admin interface.
const api = await oidc.discovery(new URL(told.adminIssuer), 'netengine-api', told.apiSecret);
const machine = await oidc.clientCredentialsGrant(api);
const known = await oidc.tokenIntrospection(api, machine.access_token);
assert.equal(known.active, true);
assert.ok(known.roles.includes('admin'), JSON.stringify(known));
await rejects(oidc.clientCredentialsGrant(await oidc.discovery(new URL(told.adminIssuer), 'netengine-api', 'wrong')), 'invalid_client');

async function admin(path, body, token = machine.access_token) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const reply = await fetch(`${base}/admin/realms/${realm}/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: reply.status, body: await reply.json().catch(() => null) };
}

const callback = `${told.app}/callback`;
const wanted = {
  clientId: 'node-app', redirectUris: [callback], postLogoutRedirectUris: [`${told.app}/bye`],
  backchannelLogoutUri: told.backchannel, standardFlowEnabled: true, serviceAccountsEnabled: true, deviceFlowEnabled: true,
};
assert.equal((await admin('clients', wanted, 'not-a-token')).status, 401);
const made = await admin('clients', wanted);
assert.equal(made.status, 201, JSON.stringify(made));
const config = await oidc.discovery(issuer, 'node-app', made.body.secret);
assert.equal(config.serverMetadata().issuer, told.issuer);

// Code with PKCE; signature, nonce, at_hash and the answer's iss are checked by the client.
async function codeFlow(browser, more = {}) {
  const checks = { pkceCodeVerifier: oidc.randomPKCECodeVerifier(), expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce(), idTokenExpected: true };
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: callback, scope: 'openid profile email', state: checks.expectedState, nonce: checks.expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(checks.pkceCodeVerifier), code_challenge_method: 'S256', ...more,
  });
  let reply = await browser.get(url);
  if (reply.status === 200) reply = await browser.submit(reply, { username: told.username, password: told.password });
  assert.equal(reply.status, 303, reply.text);
  const back = new URL(reply.location);
  assert.equal(back.searchParams.get('iss'), told.issuer);
  return { back, checks, tokens: () => oidc.authorizationCodeGrant(config, back, checks) };
}
const browser = new Browser();
const first = await codeFlow(browser);
const tokens = await first.tokens();
const claims = tokens.claims();
assert.equal(claims.preferred_username, told.username);
assert.ok(claims.roles.includes(told.role), JSON.stringify(claims));
assert.equal(claims.organization, told.organization, JSON.stringify(claims));
assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, claims.sub)).preferred_username, told.username);
await rejects(first.tokens(), 'invalid_grant');

// Refresh rotates; the old token ends everything.
const again = await (await codeFlow(browser)).tokens();
const second = await oidc.refreshTokenGrant(config, again.refresh_token);
assert.notEqual(second.refresh_token, again.refresh_token);
await rejects(oidc.refreshTokenGrant(config, again.refresh_token), 'invalid_grant');
await rejects(oidc.refreshTokenGrant(config, second.refresh_token), 'invalid_grant');

// Device: the login on the browser that is logged in already.
const started = await oidc.initiateDeviceAuthorization(config, { scope: 'openid profile' });
const polling = oidc.pollDeviceAuthorizationGrant(config, started);
const device = await browser.submit(await browser.get(started.verification_uri_complete), { user_code: started.user_code });
assert.match((await browser.submit(device, { answer: 'allow' })).text, /Device connected/);
assert.equal((await polling).claims().preferred_username, told.username);

// Registration with an initial token; without it, nothing.
const initial = await admin('clients-initial-access', { count: 1, expiration: 600 });
const registered = { redirect_uris: [callback], client_name: 'Self made' };
await oidc.dynamicClientRegistration(issuer, registered, undefined, { initialAccessToken: initial.body.token });
await assert.rejects(oidc.dynamicClientRegistration(issuer, registered, undefined, { initialAccessToken: initial.body.token }));

// Logout ends the session and its tokens, and the application is told over its back channel.
const notice = {};
notice.promise = new Promise((resolve, reject) => Object.assign(notice, { resolve, reject }));
const app = createServer({ cert: readFileSync(told.certificate), key: readFileSync(told.key) }, (request, reply) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => { reply.end(); if (request.url === new URL(told.backchannel).pathname) notice.resolve(new URLSearchParams(body)); });
});
await new Promise((done) => app.listen(Number(new URL(told.backchannel).port), done));
const bye = await (await codeFlow(browser)).tokens();
const out = await browser.get(oidc.buildEndSessionUrl(config, {
  id_token_hint: bye.id_token, post_logout_redirect_uri: `${told.app}/bye`, state: 'x',
}));
assert.equal(out.location, `${told.app}/bye?state=x`);
await rejects(oidc.refreshTokenGrant(config, bye.refresh_token), 'invalid_grant');
const deadline = setTimeout(() => notice.reject(new Error('no logout notice came')), 20_000);
const token = (await notice.promise).get('logout_token');
clearTimeout(deadline);
app.close();
const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
const { payload } = await jose.jwtVerify(token, keys, { issuer: told.issuer, audience: 'node-app' });
assert.equal(payload.sub, claims.sub);
assert.ok('http://schemas.openid.net/event/backchannel-logout' in payload.events);
console.log('all done');
