// The public API as a back end and a person use it.

import { randomUUID } from 'node:crypto';
import { serverUrl } from './harness.mjs';

const CALL_MS = 10_000;

/** An HTTP call; answers `{ status, headers, body }`, whatever the status. */
export async function call(method, path, { token, body, raw, headers = {} } = {}) {
  const response = await fetch(serverUrl() + path, {
    method,
    headers: { ...(token && { authorization: `Bearer ${token}` }), ...((body ?? raw) !== undefined && { 'content-type': 'application/json' }), ...headers },
    body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    signal: AbortSignal.timeout(CALL_MS),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : null };
}

/** A token of development mode. */
export async function token(sub, roles = ['CIDADAO'], { units = [], benefits = [] } = {}) {
  const { status, body } = await call('POST', '/dev/token', { body: { sub, roles, units, benefits, ttl_seconds: 3600 } });
  if (status !== 200) throw new Error(`POST /dev/token answered ${status}: ${JSON.stringify(body)}`);
  return body.token;
}

let publisher = null;

/** Publishes as a back end; answers the whole response. `raw` is a body sent as it is. */
export async function tryPublish(draft, raw) {
  publisher ??= token('svc-web-tests', ['SERVICE']);
  return call('POST', '/v1/notifications', { token: await publisher, body: draft, raw, headers: { 'idempotency-key': randomUUID() } });
}

/** Forgets the publisher's token: after a restart it is worth nothing. */
export function forgetPublisher() {
  publisher = null;
}

/** Publishes as a back end; answers the receipt or throws. */
export async function publish(draft) {
  const { status, body } = await tryPublish({ type: 'sistema.comunicado', priority: 'normal', body: '', ...draft });
  if (status !== 201) throw new Error(`POST /v1/notifications answered ${status}: ${JSON.stringify(body)}`);
  return body;
}

/** Publishes `count` notifications to one person, one after the other; answers their ids in order. */
export async function publishSeries(sub, stem, count) {
  const ids = [];
  for (let n = 1; n <= count; n += 1) ids.push((await publish({ audience: { users: [sub] }, title: `${stem} ${n}` })).id);
  return ids;
}

/** One notification as its owner's inbox gives it. */
export async function notification(bearer, id) {
  return (await call('GET', `/v1/notifications/${id}`, { token: bearer })).body;
}

/** A person nobody else is, so that checks do not meet. */
export const somebody = (stem) => `${stem}-${randomUUID().slice(0, 8)}`;
