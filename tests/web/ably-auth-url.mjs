// npm `ably` takes its tokens from `/v1/ably/token`, as the `authUrl` that it is made for. Where it has a request to
// exchange, a stand-in on loopback takes it; that Ably itself takes it cannot be shown here.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import Ably from 'ably';
import { somebody, token } from './lib/arauto.mjs';
import { run } from './lib/check.mjs';
import { serverUrl, setting } from './lib/harness.mjs';

const [keyName, secret] = setting('ABLY_KEY').split(':');
const authUrl = (query = '') => `${serverUrl()}/v1/ably/token${query}`;

/** Exchanges what is signed with the key, and notes it. */
const exchanged = [];
const standIn = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  const { ttl, capability, clientId, timestamp, nonce } = body;
  const text = [keyName, ttl, capability, clientId, timestamp, nonce].map((field) => `${field}\n`).join('');
  const right = createHmac('sha256', secret).update(text).digest('base64') === body.mac
    && request.url === `/keys/${keyName}/requestToken` && Math.abs(Date.now() - timestamp) < 120_000;
  exchanged.push(body);
  const answer = right
    ? { token: `${keyName}.exchanged`, keyName, issued: timestamp, expires: timestamp + ttl, capability, clientId }
    : { error: { code: 40101, statusCode: 401, message: 'invalid' } };
  response.writeHead(right ? 201 : 401, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
});
standIn.listen(0, '127.0.0.1');
await once(standIn, 'listening');

const clients = [];

function client(bearer, options) {
  const rest = new Ably.Rest({
    endpoint: '127.0.0.1',
    port: standIn.address().port,
    tls: false,
    authHeaders: bearer ? { authorization: `Bearer ${bearer}` } : {},
    logLevel: 0,
    ...options,
  });
  clients.push(rest);
  return rest;
}

const claimsOf = (jwt) => JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url').toString('utf8'));

async function refusal(work) {
  try {
    await work;
  } catch ({ code, statusCode, message }) {
    return { code, statusCode, message };
  }
  throw new Error('it was not refused');
}

async function takesAJwt() {
  const ana = somebody('ana');
  const bearer = await token(ana);
  for (const options of [{ authUrl: authUrl() }, { authUrl: authUrl('?format=jwt'), authMethod: 'POST' }]) {
    const details = await client(bearer, options).auth.authorize();
    strictEqual(details.token.split('.').length, 3);
    strictEqual(claimsOf(details.token)['x-ably-clientId'], ana);
  }
  strictEqual(exchanged.length, 0, 'a JWT needs no exchange');
}

async function takesARequest() {
  const ana = somebody('ana');
  const details = await client(await token(ana), { authUrl: authUrl('?format=request') }).auth.authorize();
  strictEqual(details.token, `${keyName}.exchanged`);
  strictEqual(details.clientId, ana);
  deepStrictEqual(Object.keys(JSON.parse(details.capability)), [`private:user:${ana}:notifications`, 'system:notifications']);
  const again = await client(await token(ana), { authUrl: authUrl('?format=request') }).auth.authorize();
  ok(again, 'a second request was not taken');
  strictEqual(new Set(exchanged.map(({ nonce }) => nonce)).size, exchanged.length, 'a nonce was used twice');
}

async function wishesAreIgnored() {
  const ana = somebody('ana');
  const wishes = { clientId: 'root', ttl: 86_400_000, capability: { '*': ['*'] } };
  const rest = client(await token(ana), { authUrl: authUrl(), authParams: { clientId: 'root' } });
  const { token: jwt } = await rest.auth.requestToken(wishes);
  const claims = claimsOf(jwt);
  strictEqual(claims['x-ably-clientId'], ana);
  ok(claims.exp - claims.iat <= 3_600, 'it counts for longer than an hour');
  ok(!claims['x-ably-capability'].includes('*'), claims['x-ably-capability']);
}

async function refusalsAreRead() {
  const strange = { authUrl: authUrl() };
  const missing = await refusal(client(null, strange).auth.authorize());
  deepStrictEqual([missing.code, missing.statusCode], [40100, 401], missing.message);
  const { message, ...service } = await refusal(client(await token(somebody('job'), ['SERVICE']), strange).auth.authorize());
  deepStrictEqual(service, { code: 40300, statusCode: 403 }, message);
}

/** A connection that is refused by 403 ends; it does not ask again. */
async function aRealtimeClientStopsAt403() {
  const bearer = await token(somebody('job'), ['SERVICE']);
  const realtime = new Ably.Realtime({
    endpoint: '127.0.0.1', port: standIn.address().port, tls: false, authUrl: authUrl(), logLevel: 0, autoConnect: false,
    authHeaders: { authorization: `Bearer ${bearer}` }, disableConnectivityCheck: true, transports: ['web_socket'],
  });
  const failed = realtime.connection.once('failed');
  realtime.connect();
  const { reason } = await failed;
  strictEqual(reason.statusCode, 403);
  realtime.close();
}

async function aLoopIsTold() {
  const ana = somebody('ana');
  const bearer = await token(ana);
  const rest = client(bearer, { authUrl: authUrl() });
  for (let n = 0; n < 10; n += 1) await rest.auth.requestToken();
  const limited = await refusal(rest.auth.requestToken());
  deepStrictEqual([limited.code, limited.statusCode], [42900, 429], limited.message);
}

await run(
  [
    ['ably_js_takes_a_jwt_by_get_and_by_post', takesAJwt],
    ['ably_js_exchanges_a_signed_request', takesARequest],
    ['what_a_client_wishes_for_itself_is_ignored', wishesAreIgnored],
    ['ably_js_reads_why_it_was_refused', refusalsAreRead],
    ['a_connection_that_is_refused_for_good_ends', aRealtimeClientStopsAt403],
    ['a_client_that_loops_is_refused', aLoopIsTold],
  ],
  async () => standIn.close(),
);
