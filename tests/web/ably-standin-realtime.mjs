// npm `ably` listens at the stand-in for Ably: `{ "url", "publishKey", "tokenKey" }` on stdin.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import Ably from 'ably';
import { EventSource } from 'eventsource';
import { run } from './lib/check.mjs';
import { authUrl, faults, fresh, jwt, ledger, place, publishKey, publisher, request, tokenKey, turn, url } from './lib/standin.mjs';
import { until } from './lib/until.mjs';

const SHORT = { disconnectedRetryTimeout: 200, suspendedRetryTimeout: 200, realtimeRequestTimeout: 10_000, httpRequestTimeout: 10_000 };

/** Runs `body` with a client that fetches what `give` says, and closes it. */
async function connected(give, body, options = {}) {
  const tokens = await authUrl(give);
  const client = new Ably.Realtime({ ...place, ...SHORT, ...options, authUrl: tokens.url, disableConnectivityCheck: true, transports: ['web_socket'] });
  const states = [];
  client.connection.on((change) => states.push(`${change.current}${change.reason ? ` ${change.reason.code}` : ''}`));
  try {
    await client.connection.whenState('connected');
    return await body({ client, tokens, states });
  } finally {
    client.close();
    tokens.close();
  }
}

/** Attaches; `got` collects the data of what comes. */
async function listen(client, name) {
  const got = [];
  const channel = client.channels.get(name);
  await channel.subscribe(({ data }) => got.push(data));
  strictEqual(channel.state, 'attached');
  return { channel, got };
}

const publish = (name, data, id) => publisher.channels.get(name).publish({ ...(id && { id }), name: 'notification', data });

/** Publishes a last message and waits for it: whatever else was to come has come. */
async function settle(name, got) {
  await publish(name, 'last');
  await until(() => `the last message, got ${JSON.stringify(got)}`, () => got.includes('last'));
}

async function refusal(work) {
  try {
    await work;
  } catch ({ code, statusCode }) {
    return [code, statusCode];
  }
  throw new Error('it was not refused');
}

const receives = (token) => async () => {
  const name = fresh('private:user');
  await connected(() => token('ana', [name], 60), async ({ client, tokens }) => {
    strictEqual(client.auth.clientId, 'ana');
    const { got } = await listen(client, name);
    await publish(name, { title: 'Olá 🦜', n: 1 });
    await settle(name, got);
    deepStrictEqual(got, [{ title: 'Olá 🦜', n: 1 }, 'last']);
    strictEqual(tokens.calls, 1);
  });
};

async function oneIdArrivesOnce() {
  const name = fresh('once');
  await connected(() => jwt('ana', [name], 60), async ({ client }) => {
    const { got } = await listen(client, name);
    for (let n = 0; n < 3; n += 1) await publish(name, 'same', 'evt-1');
    await settle(name, got);
    deepStrictEqual(got, ['same', 'last']);
  });
}

async function foreignChannelsAreRefused() {
  const [own, foreign] = [fresh('own'), fresh('foreign')];
  await connected(() => jwt('ana', [own], 60), async ({ client }) => {
    deepStrictEqual(await refusal(client.channels.get(foreign).attach()), [40160, 401]);
    const { channel } = await listen(client, own);
    deepStrictEqual(await refusal(channel.publish('n', 'forged')), [40160, 401]);
    strictEqual(client.connection.state, 'connected', 'the connection ended with it');
  });
  deepStrictEqual((await ledger()).accepted.filter(({ channel }) => [own, foreign].includes(channel)), []);
}

async function anExpiredTokenIsRenewed() {
  const name = fresh('renewed');
  const give = async (call) => {
    // Nobody is connected now: this is the gap.
    if (call === 2) await publish(name, 'gap');
    return jwt('ana', [name], call === 1 ? 5 : 60);
  };
  await connected(give, async ({ client, tokens, states }) => {
    const { id } = client.connection;
    const { channel, got } = await listen(client, name);
    const places = [];
    channel.on('attached', ({ resumed }) => places.push(resumed));
    await publish(name, 'before');
    await until(() => `another connection, saw ${states}`, () => states.filter((state) => state === 'connected').length >= 2);
    await settle(name, got);
    deepStrictEqual(got, ['before', 'gap', 'last']);
    strictEqual(client.connection.id, id, 'another connection');
    strictEqual(tokens.calls, 2);
    ok(states.includes('disconnected 40142'), `${states}`);
    deepStrictEqual(places, [true], 'the channel lost its place');
  });
}

async function aCutConnectionResumes() {
  const name = fresh('cut');
  await connected(() => jwt('ana', [name], 60), async ({ client, states }) => {
    const { id } = client.connection;
    const { got } = await listen(client, name);
    await faults({ fault: 'cut', path: '/' });
    await turn('POST', 'cut', {});
    await until('the cut', () => states.some((state) => state.startsWith('disconnected')));
    await publish(name, 'gap');
    await faults();
    await settle(name, got);
    deepStrictEqual(got, ['gap', 'last']);
    strictEqual(client.connection.id, id, 'another connection');
  });
}

async function aTokenIsReplacedInPlace() {
  const name = fresh('in-place');
  await connected(() => jwt('ana', [name], 60), async ({ client, tokens, states }) => {
    const { id } = client.connection;
    const { got } = await listen(client, name);
    const updated = client.connection.once('update');
    await turn('POST', 'reauthenticate', {});
    await updated;
    await settle(name, got);
    deepStrictEqual([tokens.calls, client.connection.id, got], [2, id, ['last']]);
    ok(!states.some((state) => state.startsWith('disconnected')), `${states}`);
  });
}

async function aTokenWithFewerRightsLosesChannels() {
  const [kept, lost] = [fresh('kept'), fresh('lost')];
  await connected((call) => jwt('ana', call === 1 ? [kept, lost] : [kept], 60), async ({ client }) => {
    await listen(client, kept);
    const { channel } = await listen(client, lost);
    const failed = channel.once('failed');
    await turn('POST', 'reauthenticate', {});
    strictEqual((await failed).reason.code, 40160);
    strictEqual(client.channels.get(kept).state, 'attached');
  });
}

async function somebodyElseIsRefusedInPlace() {
  const name = fresh('else');
  await connected((call) => jwt(call === 1 ? 'ana' : 'bruno', [name], 60), async ({ client, states }) => {
    const failed = client.connection.once('failed');
    await turn('POST', 'reauthenticate', {});
    strictEqual((await failed).reason.code, 40102, `${states}`);
  });
}

async function aRevokedTokenComesBackThroughItsAddress() {
  const name = fresh('revoked');
  await connected(() => request('bea', [name], 60), async ({ client, tokens, states }) => {
    const { got } = await listen(client, name);
    const admin = new Ably.Rest({ ...place, key: tokenKey });
    const { successCount } = await admin.auth.revokeTokens([{ type: 'clientId', value: 'bea' }]);
    strictEqual(successCount, 1);
    await until(() => `40141, saw ${states}`, () => states.includes('disconnected 40141'));
    await until(() => `another connection, saw ${states}`, () => client.connection.state === 'connected');
    await settle(name, got);
    deepStrictEqual([tokens.calls, got], [2, ['last']]);
  });
}

async function aLostMemoryIsNoticed() {
  const name = fresh('memory');
  await connected(() => jwt('ana', [name], 60), async ({ client, states }) => {
    const { id } = client.connection;
    const { channel, got } = await listen(client, name);
    const again = new Promise((done) => channel.on('attached', done));
    await publish(name, 'before');
    await until('the first message', () => got.length === 1);
    await turn('POST', 'kill', { for_ms: 300, remembers: 'nothing' });
    await until(() => `the kill, saw ${states}`, () => states.some((state) => state.startsWith('disconnected')));
    strictEqual((await again).resumed, false);
    await settle(name, got);
    deepStrictEqual(got, ['before', 'last']);
    ok(client.connection.id !== id, 'the same connection');
  });
}

async function whatIsSwallowedNeverArrives() {
  const name = fresh('swallowed');
  await connected(() => jwt('ana', [name], 60), async ({ client }) => {
    const { got } = await listen(client, name);
    await faults({ fault: 'swallow', channel: name, times: 1 });
    await publish(name, 'swallowed', 'evt-1');
    await settle(name, got);
    deepStrictEqual(got, ['last']);
  });
  const { accepted, deliveries } = await ledger();
  deepStrictEqual(accepted.filter(({ channel }) => channel === name).map(({ swallowed }) => swallowed), [true, false]);
  strictEqual(deliveries.filter(({ channel }) => channel === name).length, 1);
}

async function faultsHitTheSocket() {
  const name = fresh('socket');
  await faults({ fault: 'answer', status: 503, code: 50003, path: '/', times: 2 }, { fault: 'hang', channel: name, times: 1 });
  await connected(() => jwt('ana', [name], 60), async ({ client, states }) => {
    deepStrictEqual(states.filter((state) => state === 'disconnected 50003').length, 2, `${states}`);
    // The first attach hangs; it is given up and asked again.
    const { got } = await until('the attachment', () => listen(client, name).catch(() => null));
    await settle(name, got);
  }, { realtimeRequestTimeout: 1_000 });
  deepStrictEqual(await turn('GET', 'faults'), []);
}

async function publishersAreAcknowledged() {
  const name = fresh('realtime');
  const publishing = new Ably.Realtime({ ...place, ...SHORT, key: publishKey, disableConnectivityCheck: true, transports: ['web_socket'] });
  try {
    await connected(() => jwt('ana', [name], 60), async ({ client }) => {
      const { got } = await listen(client, name);
      const channel = publishing.channels.get(name);
      await channel.publish('n', { over: 'WebSocket' });
      await faults({ fault: 'fail-items', status: 429, code: 42913, channel: name, times: 1 });
      deepStrictEqual(await refusal(channel.publish('n', 'refused')), [42913, 429]);
      await settle(name, got);
      deepStrictEqual(got, [{ over: 'WebSocket' }, 'last']);
    });
  } finally {
    publishing.close();
  }
}

async function anEventSourceResumes() {
  const name = fresh('sse');
  const source = new EventSource(`${url}/sse?v=1.2&channels=${encodeURIComponent(name)}&accessToken=${jwt('ana', [name], 60)}`);
  const got = [];
  source.addEventListener('message', ({ data }) => got.push(JSON.parse(data).data));
  try {
    await until('the stream', () => source.readyState === EventSource.OPEN);
    await publish(name, 'before');
    await until('the first message', () => got.length === 1);
    await turn('POST', 'cut', {});
    await until('the cut', () => source.readyState === EventSource.CONNECTING);
    await publish(name, 'gap');
    await settle(name, got);
    deepStrictEqual(got, ['before', 'gap', 'last']);
  } finally {
    source.close();
  }
}

await run([
  ['a_jwt_connects_and_a_message_arrives_decoded', receives(jwt)],
  ['a_signed_request_connects_and_a_message_arrives_decoded', receives(request)],
  ['what_was_published_twice_under_one_id_arrives_once', oneIdArrivesOnce],
  ['foreign_channels_and_publishing_are_refused', foreignChannelsAreRefused],
  ['an_expired_token_is_renewed_and_the_gap_arrives_once', anExpiredTokenIsRenewed],
  ['a_cut_connection_resumes_with_what_it_missed', aCutConnectionResumes],
  ['a_token_is_replaced_on_the_connection', aTokenIsReplacedInPlace],
  ['a_token_with_fewer_rights_loses_channels', aTokenWithFewerRightsLosesChannels],
  ['a_connection_cannot_become_somebody_elses', somebodyElseIsRefusedInPlace],
  ['a_revoked_token_comes_back_through_its_address', aRevokedTokenComesBackThroughItsAddress],
  ['a_lost_memory_is_noticed', aLostMemoryIsNoticed],
  ['what_is_swallowed_never_arrives', whatIsSwallowedNeverArrives],
  ['faults_hit_the_socket_and_what_is_sent_over_it', faultsHitTheSocket],
  ['a_publisher_in_realtime_is_acknowledged_or_refused', publishersAreAcknowledged],
  ['an_event_source_resumes_by_itself', anEventSourceResumes],
]);
