// npm `ably` with `/v1/ably/token` as its `authUrl`, connected to the stand-in for Ably: what it may, and what happens when
// tokens are taken back.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import Ably from 'ably';
import { call, somebody, token } from './lib/arauto.mjs';
import { run } from './lib/check.mjs';
import { serverUrl, setting } from './lib/harness.mjs';
import { until } from './lib/until.mjs';

const standIn = new URL(setting('ABLY_URL'));
const authUrl = `${serverUrl()}/v1/ably/token`;
const headers = (bearer) => ({ authorization: `Bearer ${bearer}` });

async function connected(bearer, body) {
  const client = new Ably.Realtime({
    endpoint: standIn.hostname, port: Number(standIn.port), tls: false, useBinaryProtocol: false, logLevel: 0,
    disconnectedRetryTimeout: 200, suspendedRetryTimeout: 200, disableConnectivityCheck: true, transports: ['web_socket'],
    authUrl, authHeaders: headers(bearer),
  });
  const states = [];
  client.connection.on((change) => states.push(`${change.current}${change.reason ? ` ${change.reason.code}` : ''}`));
  try {
    await client.connection.whenState('connected');
    await body({ client, states });
  } finally {
    client.close();
  }
}

async function revoke(body) {
  const admin = await token('admin-1', ['ADMIN']);
  const revoked = await call('POST', '/v1/admin/revocations', { token: admin, body: { ...body, why: 'a test' } });
  strictEqual(revoked.status, 200, JSON.stringify(revoked.body));
  return revoked.body;
}

/** The id of a bearer token, which names its session. */
const idOf = (bearer) => JSON.parse(Buffer.from(bearer.split('.')[1], 'base64url')).jti;

/** Waits until the next second of the clock: a token of this one would count as issued before. */
const nextSecond = () => new Promise((done) => setTimeout(done, 1_000 - (Date.now() % 1_000) + 20));

async function whoeverIsShutOutStaysOut() {
  const ana = somebody('ana');
  await connected(await token(ana), async ({ client, states }) => {
    await client.channels.get(`private:user:${ana}:notifications`).attach();
    await nextSecond();
    await revoke({ subject: ana });
    await until(() => `failed, saw ${states}`, () => client.connection.state === 'failed');
    ok(states.some((state) => state.startsWith('disconnected') || state.startsWith('failed')), states.join());
    const seen = states.length;
    // Three times as long as it would take to try again.
    await new Promise((done) => setTimeout(done, 600));
    deepStrictEqual(states.slice(seen), [], 'it tried again');
  });
}

async function whoeverSignsInAgainComesBack() {
  const bea = somebody('bea');
  await connected(await token(bea), async ({ client, states }) => {
    await nextSecond();
    await revoke({ subject: bea, issued_before: new Date().toISOString() });
    await until(() => `failed, saw ${states}`, () => client.connection.state === 'failed');
    await nextSecond();
    await client.auth.authorize(null, { authUrl, authHeaders: headers(await token(bea)) });
    await until(() => `connected again, saw ${states}`, () => client.connection.state === 'connected');
    await client.channels.get(`private:user:${bea}:notifications`).attach();
    // Ably is told once more when every node refuses. What was signed before that is replaced, and it stays.
    await new Promise((done) => setTimeout(done, 4_000));
    await until(() => `still connected, saw ${states}`, () => client.connection.state === 'connected');
  });
}

async function whoseDeviceIsTakenBackKeepsTheOthers() {
  const caio = somebody('caio');
  const [lost, kept] = [await token(caio), await token(caio)];
  await connected(kept, async ({ client: other, states: unmoved }) => {
    await connected(lost, async ({ client, states }) => {
      await client.channels.get(`private:user:${caio}:notifications`).attach();
      const before = unmoved.length;
      await nextSecond();
      await revoke({ token_id: idOf(lost) });
      await until(() => `failed, saw ${states}`, () => client.connection.state === 'failed');
      // Ably says that the token was revoked, and our address that there is no other one.
      ok(states.some((state) => state.includes('40141')), states.join());
      strictEqual((await call('GET', '/v1/ably/token', { token: lost })).status, 403);
      const seen = states.length;
      await new Promise((done) => setTimeout(done, 600));
      deepStrictEqual(states.slice(seen), [], 'it tried again');
      // Another login has another id, even within the same second.
      await client.auth.authorize(null, { authUrl, authHeaders: headers(await token(caio)) });
      await until(() => `connected again, saw ${states}`, () => client.connection.state === 'connected');
      await client.channels.get(`private:user:${caio}:notifications`).attach();
      deepStrictEqual([other.connection.state, unmoved.slice(before)], ['connected', []]);
    });
  });
}

const refusal = (attempt) => attempt.then(() => 'nothing', ({ code }) => code);

async function whatIsNotTheirsIsRefused() {
  const dora = somebody('dora');
  await connected(await token(dora), async ({ client }) => {
    const own = client.channels.get(`private:user:${dora}:notifications`);
    await own.attach();
    for (const foreign of [`private:user:${somebody('ana')}:notifications`, 'private:unit:u-1:notifications']) {
      strictEqual(await refusal(client.channels.get(foreign).attach()), 40160, foreign);
    }
    strictEqual(await refusal(own.publish('notification', 'forged')), 40160, 'publishing');
    strictEqual(client.connection.state, 'connected', 'the connection ended with it');
  });
}

async function othersAreNotConcerned() {
  await connected(await token(somebody('eva')), async ({ client, states }) => {
    const seen = states.length;
    await revoke({ subject: somebody('nobody') });
    await new Promise((done) => setTimeout(done, 600));
    deepStrictEqual([client.connection.state, states.slice(seen)], ['connected', []]);
  });
}

await run([
  ['whoever_is_shut_out_stays_out', whoeverIsShutOutStaysOut],
  ['whoever_signs_in_again_comes_back', whoeverSignsInAgainComesBack],
  ['whose_device_is_taken_back_keeps_the_others', whoseDeviceIsTakenBackKeepsTheOthers],
  ['others_are_not_concerned', othersAreNotConcerned],
  ['what_is_not_theirs_is_refused', whatIsNotTheirsIsRefused],
]);
