// The smallest browser: cookies, forms, no scripts, redirects by hand.
import assert from 'node:assert/strict';

export class Browser {
  cookies = new Map();

  async request(url, options = {}) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { ...(options.headers ?? {}), ...(cookie ? { cookie } : {}) };
    const reply = await fetch(url, { redirect: 'manual', ...options, headers });
    for (const line of reply.headers.getSetCookie()) {
      const [pair] = line.split(';');
      const at = pair.indexOf('=');
      if (/Max-Age=0/.test(line)) this.cookies.delete(pair.slice(0, at));
      else this.cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    return { status: reply.status, location: reply.headers.get('location'), headers: reply.headers, text: await reply.text(), url };
  }

  get(url) { return this.request(url); }

  // Sends the only form of a page, with `values` in its fields.
  submit(page, values) {
    const action = unescape(/<form method="post" action="([^"]*)"/.exec(page.text)[1]);
    const body = new URLSearchParams();
    for (const [, name, value] of page.text.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)) {
      body.set(name, unescape(value));
    }
    for (const [name, value] of Object.entries(values)) body.set(name, value);
    return this.request(new URL(action, page.url), { method: 'POST', body });
  }

  async login(url, username, password) {
    const page = await this.get(url);
    assert.equal(page.status, 200, page.text);
    assert.match(page.text, /name="password"/);
    return this.submit(page, { username, password });
  }
}

const unescape = (text) => text.replaceAll('&#38;', '&').replaceAll('&amp;', '&').replaceAll('&#34;', '"').replaceAll('&quot;', '"')
  .replaceAll('&#39;', "'").replaceAll('&#60;', '<').replaceAll('&#62;', '>');
