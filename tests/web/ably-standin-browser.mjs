// The browser bundle of npm `ably` in Chromium, at the stand-in for Ably: `{ "url", "publishKey", "tokenKey" }` on stdin.

import { deepStrictEqual, strictEqual } from 'node:assert';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { run } from './lib/check.mjs';
import { launch } from './lib/demo-page.mjs';
import { fresh, jwt, ledger, place, publisher, request, turn } from './lib/standin.mjs';
import { until } from './lib/until.mjs';

const bundle = await readFile(new URL('node_modules/ably/build/ably.min.js', import.meta.url));
const PAGE = '<!doctype html><meta charset="utf-8"><title>Ably</title><script src="/ably.min.js"></script>';

/** Gives the page, the bundle and, on the page's own origin, tokens: `/token?name=…&format=…`. */
const site = createServer(async (asked, response) => {
  const { pathname, searchParams } = new URL(asked.url, 'http://page');
  if (pathname === '/ably.min.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(bundle);
  if (pathname !== '/token') return response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
  const rights = ['ana', [searchParams.get('name')], 60];
  if (searchParams.get('format') === 'jwt') return response.writeHead(200, { 'content-type': 'application/jwt' }).end(jwt(...rights));
  return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(await request(...rights)));
});
site.listen(0, '127.0.0.1');
await once(site, 'listening');
const origin = `http://127.0.0.1:${site.address().port}`;
const browser = await launch();

/** Opens a page that listens to a channel. */
async function listening(name, format) {
  const page = await browser.newPage();
  await page.goto(origin);
  await page.evaluate(async ([options, channel]) => {
    window.got = [];
    window.client = new window.Ably.Realtime({ ...options, disableConnectivityCheck: true, transports: ['web_socket'], disconnectedRetryTimeout: 200 });
    await window.client.connection.whenState('connected');
    await window.client.channels.get(channel).subscribe(({ data }) => window.got.push(data));
  }, [{ ...place, authUrl: '/token', authParams: { name, format } }, name]);
  return page;
}

const publish = (name, data) => publisher.channels.get(name).publish('notification', data);
const got = (page) => page.evaluate(() => window.got);
const connection = (page) => page.evaluate(() => window.client.connection.id);
const has = (page, data) => until(`${data} in the page`, async () => (await got(page)).includes(data));

const receives = (format) => async () => {
  const name = fresh('browser');
  const page = await listening(name, format);
  await publish(name, { title: 'Olá 🦜' });
  await publish(name, 'last');
  await has(page, 'last');
  deepStrictEqual(await got(page), [{ title: 'Olá 🦜' }, 'last']);
  await page.close();
};

async function anExpiredTokenIsRenewed() {
  const name = fresh('browser');
  const page = await listening(name, 'jwt');
  const before = await connection(page);
  const { resumes } = (await ledger()).counts;
  await turn('POST', 'expire', {});
  await until('the resumed connection', async () => (await ledger()).counts.resumes > resumes);
  await publish(name, 'after');
  await has(page, 'after');
  strictEqual(await connection(page), before, 'another connection');
  await page.close();
}

await run(
  [
    ['the_bundle_takes_a_jwt_and_receives', receives('jwt')],
    ['the_bundle_exchanges_a_request_across_origins_and_receives', receives('request')],
    ['the_bundle_renews_an_expired_token_and_resumes', anExpiredTokenIsRenewed],
  ],
  async () => {
    await browser.close();
    site.close();
  },
);
