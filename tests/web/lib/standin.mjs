// The stand-in for Ably, its switches, and an `authUrl` that gives tokens for it.

import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import Ably from 'ably';
import { standardInput } from './harness.mjs';

const CALL_MS = 10_000;

/** Told on stdin: `{ "url", "publishKey", "tokenKey" }`. */
export const { url, publishKey, tokenKey } = await standardInput();
const { hostname, port } = new URL(url);

/** Where `ably-js` finds it. */
export const place = { endpoint: hostname, port: Number(port), tls: false, useBinaryProtocol: false, logLevel: 0 };

/** Turns one of its switches; answers what it says. */
export async function turn(method, path, body) {
  const response = await fetch(`${url}/standin/${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(CALL_MS),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} /standin/${path} answered ${response.status}: ${JSON.stringify(answer)}`);
  return answer;
}

/** Puts these faults in the place of all others. */
export const faults = (...rules) => turn('PUT', 'faults', rules);

/** What was asked, accepted and delivered. */
export const ledger = () => turn('GET', 'ledger?limit=5000');

/** A client that publishes. */
export const publisher = new Ably.Rest({ ...place, key: publishKey });

const [keyName, secret] = tokenKey.split(':');
const signer = new Ably.Rest({ ...place, key: tokenKey });
const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A JWT for somebody who may listen to these channels, for so many seconds. */
export function jwt(clientId, channels, seconds) {
  const iat = Math.floor(Date.now() / 1000);
  const capability = Object.fromEntries(channels.map((channel) => [channel, ['history', 'subscribe']]));
  const claims = { iat, exp: iat + seconds, 'x-ably-capability': JSON.stringify(capability), 'x-ably-clientId': clientId, 'x-ably-revocation-key': `user.${clientId}` };
  const text = `${base64url({ typ: 'JWT', alg: 'HS256', kid: keyName })}.${base64url(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** A signed request for such a token. */
export function request(clientId, channels, seconds) {
  const capability = Object.fromEntries(channels.map((channel) => [channel, ['history', 'subscribe']]));
  return signer.auth.createTokenRequest({ clientId, capability, ttl: seconds * 1000 });
}

/** A place where `ably-js` fetches tokens: `give(call)` says what it gets; `calls` counts. */
export async function authUrl(give) {
  const place = { calls: 0 };
  const server = createServer(async (_, response) => {
    place.calls += 1;
    const given = await give(place.calls);
    const kind = typeof given === 'string' ? 'application/jwt' : 'application/json';
    response.writeHead(200, { 'content-type': kind }).end(typeof given === 'string' ? given : JSON.stringify(given));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  place.url = `http://127.0.0.1:${server.address().port}/`;
  place.close = () => server.close();
  return place;
}

/** A channel that no other check has. */
export const fresh = (stem) => `${stem}:${randomUUID()}`;
