// Content that breaks streams which are put together carelessly. `hostile.json` is shared with the Python client.

import { readFileSync } from 'node:fs';
import { deepStrictEqual, strictEqual } from 'node:assert';
import { notification, publish, somebody, token, tryPublish } from './arauto.mjs';
import { until } from './until.mjs';

const HOSTILE = JSON.parse(readFileSync(new URL('hostile.json', import.meta.url), 'utf8'));
/** One line of this many characters is far over any line buffer that a client might have. */
const LONG = 9_000;

export function hostileDraft(sub) {
  const data = { ...HOSTILE.data, long: `${'x'.repeat(LONG)}😀`, 'long too': 'é'.repeat(LONG / 3) };
  return { audience: { users: [sub] }, type: 'x.y-z_0', priority: 'urgent', title: HOSTILE.title, body: HOSTILE.body, data };
}

/**
 * `connect(bearer)` opens a stream and answers `{ events, close }`, where `events` grows with `{ event, id, data }`,
 * `data` parsed. Checks that one hostile notification arrives whole, and nothing that it could have smuggled in.
 */
export async function arrivesUnharmed(connect) {
  const sub = somebody('hostile');
  const bearer = await token(sub);
  const stream = await connect(bearer);
  await until('ready', () => stream.events.some(({ event }) => event === 'ready'));
  const draft = hostileDraft(sub);
  const { id } = await publish(draft);
  const { data } = await until(() => `the hostile notification, heard ${heard(stream)}`, () => find(stream, id));
  deepStrictEqual(data.notification.data, draft.data, 'data came back changed');
  strictEqual(data.notification.title, draft.title, 'title came back changed');
  deepStrictEqual(data.notification, (await notification(bearer, id)).notification, 'stream and inbox differ');
  if (/<script|<[^>]*\sonclick/i.test(data.notification.body)) throw new Error(`script in body: ${data.notification.body}`);
  await nothingSmuggled(stream, sub, [id]);
  stream.close();
}

/** What may be refused is refused with a problem, or arrives as the inbox has it; a third way there is not. */
export async function isRefusedOrHarmless(connect) {
  const sub = somebody('refusable');
  const bearer = await token(sub);
  const stream = await connect(bearer);
  await until('ready', () => stream.events.some(({ event }) => event === 'ready'));
  const accepted = [];
  const refused = [];
  const take = async (name, { status, body }) => {
    if (status === 201) accepted.push(body.id);
    else if (status >= 400 && status < 500 && body?.type) refused.push(name);
    else throw new Error(`${name}: answered ${status} ${JSON.stringify(body)}`);
  };
  for (const [name, title] of Object.entries(HOSTILE.refusable_titles)) {
    await take(name, await tryPublish({ audience: { users: [sub] }, type: 'x', priority: 'low', title, body: '' }));
  }
  for (const [name, raw] of Object.entries(HOSTILE.refusable_bodies)) {
    await take(name, await tryPublish(undefined, raw.replace('SUB', sub)));
  }
  await nothingSmuggled(stream, sub, accepted);
  for (const id of accepted) {
    deepStrictEqual(find(stream, id).data.notification, (await notification(bearer, id)).notification, 'stream and inbox differ');
  }
  stream.close();
  return { refused, accepted: accepted.length };
}

/** A last, plain notification marks the end: up to it, the stream held `ids` and nothing else of weight. */
async function nothingSmuggled(stream, sub, ids) {
  const last = (await publish({ audience: { users: [sub] }, title: 'the end' })).id;
  await until(() => `the last notification, heard ${heard(stream)}`, () => find(stream, last));
  deepStrictEqual(heard(stream), ['ready', ...ids, last], 'the stream held something else');
  for (const { event, id, data } of stream.events.filter((one) => one.event === 'notification')) strictEqual(id, data.cursor, `id of a ${event}`);
}

/** Ids of notifications and names of all else that came, heartbeats aside. */
const heard = (stream) => stream.events.filter(({ event }) => event !== 'heartbeat').map(({ event, data }) => data.notification?.id ?? event);

const find = (stream, id) => stream.events.find(({ data }) => data.notification?.id === id);
