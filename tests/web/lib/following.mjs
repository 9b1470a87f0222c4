// What `clients/reference` has to show, whoever runs it: `start(bearer, cursor)` gives
// `{ events(), states(), transports(), stopped(), refuse(), stop() }`, each of which promises what was noted so far.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { call, publish, somebody, token } from './arauto.mjs';
import { setting } from './harness.mjs';
import { until } from './until.mjs';

const standIn = setting('STANDIN_URL');
const { hostname, port } = new URL(standIn);

/** Where `ably-js` finds the stand-in. */
export const place = {
  endpoint: hostname, port: Number(port), tls: false, useBinaryProtocol: false, logLevel: 0, disableConnectivityCheck: true,
  transports: ['web_socket'],
};

async function turn(path, body = {}) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${standIn}/standin/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  ok(response.ok, `${path}: ${response.status}`);
}

/** Puts everybody on Ably. */
export async function everybodyOnAbly() {
  const admin = await token('admin-web-tests', ['ADMIN']);
  const { version } = (await call('GET', '/v1/admin/rollout', { token: admin })).body;
  const change = { version, why: 'a test', share: 100 };
  strictEqual((await call('PUT', '/v1/admin/rollout', { token: admin, body: change })).status, 200);
  await until('the rollout in force', async () => (await call('GET', '/v1/admin/rollout', { token: admin })).body.in_force > version);
}

/** Has nobody wait for the circuit breaker in front of Ably, as an operator does who knows that Ably is back. */
async function closeBreaker() {
  const admin = await token('admin-web-tests', ['ADMIN']);
  const closed = await call('POST', '/v1/admin/breakers/ably/reset', { token: admin });
  strictEqual(closed.status, 200, JSON.stringify(closed.body));
}

/** Has Ably deliver an event again, under an id by which it does not know it for a repeat. */
async function copy(user, cursor) {
  const channel = `private:user:${user}:notifications`;
  const response = await fetch(`${standIn}/channels/${encodeURIComponent(channel)}/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Basic ${btoa(setting('STANDIN_KEY'))}` },
    body: JSON.stringify({ name: 'notification', data: { cursor, channel } }),
  });
  ok(response.ok, `${response.status}`);
}

/** Publishes to one person, and returns the cursors. */
async function send(user, count) {
  const cursors = [];
  for (let n = 1; n <= count; n += 1) cursors.push((await publish({ audience: { users: [user] }, title: `${n}` })).cursor);
  return cursors;
}

const shown = async (client) => (await client.events()).map(({ cursor }) => cursor);

/** Waits until all were shown, then holds it to exactly these, in this order. */
async function showsExactly(client, cursors) {
  const missing = async () => {
    const has = new Set(await shown(client));
    return cursors.filter((cursor) => !has.has(cursor));
  };
  await until(async () => `${await missing()}`, async () => (await missing()).length === 0);
  deepStrictEqual(await shown(client), cursors);
}

const last = async (list) => (await list()).at(-1);
const onAbly = (client) => until('on Ably alone', async () => {
  const state = await last(client.states);
  return state?.ably && !state.sse;
});
const onStream = (client) => until('on the stream', async () => (await last(client.states))?.sse);

export function checks(start) {
  const begin = async () => {
    const user = somebody('ana');
    const client = await start(await token(user));
    await onAbly(client);
    return { user, client };
  };

  async function fromTheInbox() {
    const user = somebody('ana');
    const bearer = await token(user);
    const { cursor } = (await call('GET', '/v1/notifications', { token: bearer })).body;
    const sent = await send(user, 2);
    const client = await start(bearer, cursor);
    await showsExactly(client, sent);
    await onAbly(client);
    sent.push(...(await send(user, 1)));
    await showsExactly(client, sent);
    await client.stop();
  }

  /** Ably says that it took a message, and nobody gets it: only the last cursors of the answer tell. */
  async function swallowed() {
    const { user, client } = await begin();
    await turn('faults', { fault: 'swallow', channel: `private:user:${user}:notifications`, times: 1 });
    const sent = await send(user, 1);
    await showsExactly(client, sent);
    strictEqual((await client.events())[0].by, 'replay');
    await client.stop();
  }

  async function twice() {
    const { user, client } = await begin();
    const sent = await send(user, 1);
    await showsExactly(client, sent);
    await copy(user, sent[0]);
    sent.push(...(await send(user, 1)));
    await showsExactly(client, sent);
    await client.stop();
  }

  async function killedAndBack() {
    const { user, client } = await begin();
    const sent = await send(user, 2);
    await showsExactly(client, sent);
    ok((await client.events()).every(({ by }) => by === 'ably'), 'it did not come over Ably');
    await turn('kill', { for_ms: 8_000, remembers: 'nothing' });
    sent.push(...(await send(user, 1)));
    await onStream(client);
    await showsExactly(client, sent);
    await until('Ably', () => fetch(`${standIn}/time`).then(({ ok }) => ok, () => false));
    // Whether it opened is a matter of when attempts fell; by itself it looks again after a minute.
    await closeBreaker();
    // Whoever has just come back may be sent to the stream once more.
    await until('an event over Ably', async () => {
      await onAbly(client);
      sent.push(...(await send(user, 1)));
      await showsExactly(client, sent);
      return (await last(client.events)).by === 'ably';
    });
    await client.stop();
  }

  async function cutOff() {
    const { user, client } = await begin();
    const sent = [];
    const losses = async () => (await client.states()).filter(({ ably }) => !ably).length;
    for (let n = 0; n < 3; n += 1) {
      await onAbly(client);
      const before = await losses();
      await turn('cut');
      sent.push(...(await send(user, 2)));
      await until('the cut', async () => (await losses()) > before);
    }
    await showsExactly(client, sent);
    await onAbly(client);
    await client.stop();
  }

  async function renewed() {
    const { user, client } = await begin();
    const sent = await send(user, 1);
    for (const switched of ['expire', 'reauthenticate', 'expire']) {
      await turn(switched);
      sent.push(...(await send(user, 2)));
      await showsExactly(client, sent);
    }
    await client.stop();
  }

  async function killSwitch() {
    const { user, client } = await begin();
    const admin = await token('admin-web-tests', ['ADMIN']);
    const sent = await send(user, 1);
    const body = { why: 'a test' };
    strictEqual((await call('POST', '/v1/admin/kill-switch', { token: admin, body })).status, 200);
    try {
      sent.push(...(await send(user, 2)));
      await onStream(client);
      await showsExactly(client, sent);
      await until('told why', async () => (await last(client.transports)).reason === 'kill_switch');
      await until('off Ably', async () => !(await last(client.states)).ably);
    } finally {
      await call('DELETE', '/v1/admin/kill-switch', { token: admin, body });
    }
    await client.stop();
  }

  async function staysOut() {
    const client = await start(await token(somebody('job'), ['SERVICE']));
    await until('the end', client.stopped);
    strictEqual(await client.stopped(), 'forbidden');
    deepStrictEqual([await client.events(), await client.states()], [[], []]);
  }

  async function refusedLater() {
    const { user, client } = await begin();
    const sent = await send(user, 1);
    await showsExactly(client, sent);
    await client.refuse();
    await turn('expire');
    await until('the end', client.stopped);
    strictEqual(await client.stopped(), 'forbidden');
    await send(user, 1);
    await new Promise((done) => setTimeout(done, 1_000));
    deepStrictEqual(await shown(client), sent, 'it came back');
  }

  return [
    ['a_client_begins_where_its_inbox_stood', fromTheInbox],
    ['what_ably_takes_and_does_not_deliver_is_replayed', swallowed],
    ['what_comes_twice_is_shown_once', twice],
    ['ably_is_killed_and_back_and_everything_is_shown_once', killedAndBack],
    ['a_client_that_is_cut_off_again_and_again_misses_nothing', cutOff],
    ['tokens_are_renewed_without_loss', renewed],
    ['the_kill_switch_moves_it_to_the_stream', killSwitch],
    ['whoever_may_hear_nothing_stays_out', staysOut],
    ['whoever_is_refused_later_stays_out', refusedLater],
  ];
}
