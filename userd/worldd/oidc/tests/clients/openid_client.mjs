// openid-client (certified relying party) against the provider.
import assert from 'node:assert/strict';
import * as oidc from 'openid-client';
import { Browser } from './browser.mjs';

const told = JSON.parse(process.argv[2]);
const insecure = { execute: [oidc.allowInsecureRequests] };
const issuer = new URL(told.issuer);

async function rejects(promise, error) {
  await assert.rejects(promise, (thrown) => {
    assert.equal(thrown.error ?? thrown.cause?.error ?? thrown.code, error, String(thrown.stack));
    return true;
  });
}

async function codeFlow(config, browser, more = {}) {
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: told.callback, scope: 'openid profile email', state, nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...more,
  });
  let reply = await browser.get(url);
  if (reply.status === 200) reply = await browser.submit(reply, { username: told.username, password: told.password });
  assert.equal(reply.status, 303, reply.text);
  const back = new URL(reply.location);
  assert.equal(back.searchParams.get('iss'), told.issuer);
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
  return { back, checks, tokens: () => oidc.authorizationCodeGrant(config, back, checks) };
}

// Discovery and client credentials, both ways to show the secret.
const config = await oidc.discovery(issuer, 'web', told.secret, undefined, insecure);
assert.equal(config.serverMetadata().issuer, told.issuer);
const basic = await oidc.discovery(issuer, 'web', {}, oidc.ClientSecretBasic(told.secret), insecure);
for (const client of [config, basic]) {
  const machine = await oidc.clientCredentialsGrant(client, { scope: 'netengines:read' });
  assert.equal(machine.scope, 'netengines:read');
  const known = await oidc.tokenIntrospection(client, machine.access_token);
  assert.equal(known.active, true);
  assert.deepEqual(known.roles, ['admin']);
  assert.deepEqual(known.aud.sort(), ['netengine-api', 'web']);
}
const wrong = await oidc.discovery(issuer, 'web', 'not the secret', undefined, insecure);
await rejects(oidc.clientCredentialsGrant(wrong), 'invalid_client');

// Code with PKCE; the ID token's signature, nonce, at_hash and the answer's iss are checked by the client.
const browser = new Browser();
const first = await codeFlow(config, browser);
const tokens = await first.tokens();
const claims = tokens.claims();
assert.equal(claims.preferred_username, 'alice');
assert.equal(claims.email, 'alice@acme.corp');
assert.equal(claims.organization, 'acme');
assert.deepEqual(claims.roles, ['staff']);
assert.deepEqual(claims.realm_access, { roles: ['staff'] });
const info = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub);
assert.equal(info.name, 'alice');

// One login serves the next client; prompt=login asks again; prompt=none without a session is refused.
await (await codeFlow(config, browser, { prompt: 'none' })).tokens();
const again = await browser.get(oidc.buildAuthorizationUrl(config, { redirect_uri: told.callback, scope: 'openid', prompt: 'login' }));
assert.match(again.text, /name="password"/);
const nobody = await new Browser().get(oidc.buildAuthorizationUrl(config, { redirect_uri: told.callback, scope: 'openid', prompt: 'none' }));
assert.equal(new URL(nobody.location).searchParams.get('error'), 'login_required');

// A public client: PKCE proves it.
const spa = await oidc.discovery(issuer, 'spa', undefined, oidc.None(), insecure);
const spaTokens = await (await codeFlow(spa, browser)).tokens();
assert.equal(spaTokens.claims().aud, 'spa');

// Refresh rotates; the old token ends everything.
const second = await oidc.refreshTokenGrant(spa, spaTokens.refresh_token);
assert.notEqual(second.refresh_token, spaTokens.refresh_token);
await rejects(oidc.refreshTokenGrant(spa, spaTokens.refresh_token), 'invalid_grant');
await rejects(oidc.refreshTokenGrant(spa, second.refresh_token), 'invalid_grant');
assert.equal((await oidc.tokenIntrospection(config, second.access_token)).active, false);

// A code works once, and its second use ends the tokens of the first.
const once = await codeFlow(config, browser);
const kept = await once.tokens();
await rejects(once.tokens(), 'invalid_grant');
assert.equal((await oidc.tokenIntrospection(config, kept.access_token)).active, false);

// The wrong verifier burns the code.
const stolen = await codeFlow(config, browser);
await rejects(oidc.authorizationCodeGrant(config, stolen.back, { ...stolen.checks, pkceCodeVerifier: oidc.randomPKCECodeVerifier() }), 'invalid_grant');
await rejects(stolen.tokens(), 'invalid_grant');

// Revocation.
const revoked = await (await codeFlow(config, browser)).tokens();
await oidc.tokenRevocation(config, revoked.access_token);
assert.equal((await oidc.tokenIntrospection(config, revoked.access_token)).active, false);
await oidc.tokenRevocation(config, revoked.refresh_token);
await rejects(oidc.refreshTokenGrant(config, revoked.refresh_token), 'invalid_grant');

// Consent, with the client's name escaped; then it is remembered.
const asking = await oidc.discovery(issuer, 'asking', told.secret, undefined, insecure);
const ask = oidc.buildAuthorizationUrl(asking, { redirect_uri: told.callback, scope: 'openid email' });
const page = await browser.get(ask);
assert.match(page.text, /name="answer"/);
assert.ok(!page.text.includes('<b>'), page.text);
assert.equal(new URL((await browser.submit(page, { answer: 'deny' })).location).searchParams.get('error'), 'access_denied');
assert.ok(new URL((await browser.submit(await browser.get(ask), { answer: 'allow' })).location).searchParams.get('code'));
assert.ok(new URL((await browser.get(ask)).location).searchParams.get('code'));

// Device.
const started = await oidc.initiateDeviceAuthorization(config, { scope: 'openid profile' });
const polling = oidc.pollDeviceAuthorizationGrant(config, started);
const device = await browser.submit(await browser.get(started.verification_uri_complete), { user_code: started.user_code });
assert.ok(device.text.includes(started.user_code));
assert.match((await browser.submit(device, { answer: 'allow' })).text, /Device connected/);
assert.equal((await polling).claims().preferred_username, 'alice');

// Dynamic registration with the initial token; without it, nothing.
const registered = await oidc.dynamicClientRegistration(issuer, {
  redirect_uris: [told.callback], client_name: 'Self made', grant_types: ['authorization_code', 'refresh_token'],
}, undefined, { ...insecure, initialAccessToken: told.initial });
const self = await browser.get(oidc.buildAuthorizationUrl(registered, { redirect_uri: told.callback, scope: 'openid' }));
assert.match(self.text, /Self made/);
await assert.rejects(oidc.dynamicClientRegistration(issuer, { redirect_uris: [told.callback] }, undefined, insecure));

// Logout with the hint ends the session and its tokens.
const bye = await (await codeFlow(config, browser)).tokens();
const out = await browser.get(oidc.buildEndSessionUrl(config, {
  id_token_hint: bye.id_token, post_logout_redirect_uri: 'http://127.0.0.1:9/bye', state: 'x',
}));
assert.equal(out.location, 'http://127.0.0.1:9/bye?state=x');
assert.equal((await oidc.tokenIntrospection(config, bye.access_token)).active, false);
await rejects(oidc.refreshTokenGrant(config, bye.refresh_token), 'invalid_grant');
const after = await browser.get(oidc.buildAuthorizationUrl(config, { redirect_uri: told.callback, scope: 'openid' }));
assert.match(after.text, /name="password"/);
console.log('all done');
