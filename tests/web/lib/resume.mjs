// What a client that comes back by itself must find: exactly what it missed, in order, once.

import { deepStrictEqual } from 'node:assert';
import { publishSeries, somebody, token } from './arauto.mjs';
import { serverUrl } from './harness.mjs';
import { proxy } from './proxy.mjs';
import { until } from './until.mjs';

/**
 * `connect(bearer, baseUrl)` opens a stream and answers `{ events, close }`. Cuts its TCP connection twice, publishes
 * while it is away, and lets it come back at its own pace.
 */
export async function resumesByItself(connect) {
  await withCuttable(connect, async ({ sub, stream, wire }) => {
    const expected = await publishSeries(sub, 'before', 2);
    await until('the first notifications', () => ids(stream).length === 2);
    for (const round of ['first', 'second']) {
      wire.cut();
      expected.push(...(await publishSeries(sub, `${round} cut`, 3)));
      wire.mend();
      await until(() => `${expected.length} notifications, has ${ids(stream).length}`, () => ids(stream).length >= expected.length);
    }
    expected.push(...(await publishSeries(sub, 'live again', 1)));
    await until('the live one after the cuts', () => ids(stream).length >= expected.length);
    deepStrictEqual(ids(stream), expected, 'not exactly what was published, in order, once');
  });
}

/** A stream that has had no event but `ready` already knows where it is: cut, it misses nothing. */
export async function isWholeBeforeItsFirstEvent(connect) {
  await withCuttable(connect, async ({ sub, stream, wire }) => {
    wire.cut();
    const expected = await publishSeries(sub, 'into the gap', 1);
    wire.mend();
    await until('what was published into the gap', () => ids(stream).length > 0);
    deepStrictEqual(ids(stream), expected);
    deepStrictEqual(stream.events.filter(({ event }) => event === 'reset'), [], 'a reset that lost nothing');
  });
}

async function withCuttable(connect, body) {
  const sub = somebody('cut');
  const wire = await proxy(serverUrl());
  const stream = await connect(await token(sub), wire.url);
  try {
    await until('ready', () => stream.events.some(({ event }) => event === 'ready'));
    await body({ sub, stream, wire });
  } finally {
    stream.close();
    await wire.close();
  }
}

const ids = (stream) => stream.events.filter(({ event }) => event === 'notification').map(({ data }) => data.notification?.id);
