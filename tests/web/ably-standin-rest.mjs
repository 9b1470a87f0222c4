// npm `ably` publishes to the stand-in for Ably: `{ "url", "publishKey", "tokenKey" }` on stdin.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import Ably from 'ably';
import { run } from './lib/check.mjs';
import { faults, fresh, ledger, place, publishKey, publisher, tokenKey, turn } from './lib/standin.mjs';

const accepted = async (channel) => (await ledger()).accepted.filter((entry) => entry.channel === channel).map(({ message }) => message);

async function refusal(work) {
  try {
    await work;
  } catch ({ code, statusCode }) {
    return [code, statusCode];
  }
  throw new Error('it was not refused');
}

async function everyFormIsTaken() {
  const name = fresh('forms:a/b?c%d é');
  const channel = publisher.channels.get(name);
  await channel.publish('first', { a: 1 });
  await channel.publish({ name: 'second', data: 'text' });
  await channel.publish([{ name: 'third', data: Buffer.from([1, 2, 3]) }, { name: 'fourth' }]);
  const seen = (await accepted(name)).map(({ name: event, data, encoding }) => [event, data, encoding]);
  deepStrictEqual(seen, [['first', '{"a":1}', 'json'], ['second', 'text', undefined], ['third', 'AQID', 'base64'], ['fourth', undefined, undefined]]);
  const { items } = await channel.history({ direction: 'forwards' });
  deepStrictEqual(items.map(({ data }) => (Buffer.isBuffer(data) ? [...data] : data)), [{ a: 1 }, 'text', [1, 2, 3], undefined]);
}

async function oneIdCountsOnce() {
  const name = fresh('once');
  const channel = publisher.channels.get(name);
  for (let n = 0; n < 3; n += 1) await channel.publish({ id: 'evt-1', name: 'n', data: `${n}` });
  strictEqual((await accepted(name)).length, 1);
}

async function batchesAreTaken() {
  const [one, two] = [fresh('batch'), fresh('batch')];
  const result = await publisher.batchPublish({ channels: [one, two], messages: { id: 'evt-1', name: 'n', data: 'x' } });
  deepStrictEqual([result.successCount, result.failureCount, result.results.map(({ channel }) => channel)], [2, 0, [one, two]]);
  await faults({ fault: 'fail-items', status: 429, code: 42913, channel: two, times: 1 });
  const results = await publisher.batchPublish([{ channels: [one], messages: { name: 'n' } }, { channels: [two], messages: { name: 'n' } }]);
  deepStrictEqual(results.map(({ successCount, failureCount }) => [successCount, failureCount]), [[1, 0], [0, 1]]);
  strictEqual(results[1].results[0].error.code, 42913);
}

async function refusalsAreRead() {
  const channel = publisher.channels.get(fresh('refused'));
  for (const [status, code] of [[429, 42913], [400, 40000], [503, 50003], [401, 40100]]) {
    await faults({ fault: 'answer', status, code });
    deepStrictEqual(await refusal(channel.publish('n', 'x')), [code, status]);
  }
  await faults();
  const weak = new Ably.Rest({ ...place, key: tokenKey });
  deepStrictEqual(await refusal(weak.channels.get(fresh('weak')).publish('n', 'x')), [40160, 401]);
}

async function timeAndTokensAreGiven() {
  ok(Math.abs((await publisher.time()) - Date.now()) < 5_000);
  const details = await publisher.auth.requestToken({ ttl: 60_000, clientId: 'ana' });
  deepStrictEqual([details.clientId, details.expires - details.issued], ['ana', 60_000]);
  const [{ authorization }] = (await ledger()).requests.map(({ headers }) => headers).filter((headers) => headers.authorization);
  strictEqual(authorization, 'Basic …', 'the ledger has a secret');
  ok(!JSON.stringify(await turn('GET', 'ledger')).includes(publishKey.split(':')[1]));
}

await run([
  ['every_form_of_publishing_is_taken', everyFormIsTaken],
  ['one_id_counts_once', oneIdCountsOnce],
  ['a_batch_is_taken_and_fails_in_part', batchesAreTaken],
  ['refusals_are_read_with_their_codes', refusalsAreRead],
  ['the_time_and_tokens_are_given', timeAndTokensAreGiven],
]);
