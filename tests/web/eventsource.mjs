// npm `eventsource`: the WHATWG client for Node, which we did not write, on our stream.

import { deepStrictEqual } from 'node:assert';
import { EventSource } from 'eventsource';
import { run } from './lib/check.mjs';
import { serverUrl } from './lib/harness.mjs';
import { arrivesUnharmed, isRefusedOrHarmless } from './lib/hostile.mjs';
import { isWholeBeforeItsFirstEvent, resumesByItself } from './lib/resume.mjs';
import { received } from './lib/until.mjs';

const NAMES = ['ready', 'notification', 'retracted', 'state', 'heartbeat', 'reset', 'session', 'closing', 'message'];

/** How the streams were coded. */
const codings = new Set();

async function connect(bearer, base = serverUrl()) {
  const events = [];
  const source = new EventSource(`${base}/v1/stream`, {
    fetch: async (url, init) => {
      const response = await fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${bearer}` } });
      codings.add(response.headers.get('content-encoding'));
      return response;
    },
  });
  for (const name of NAMES) {
    source.addEventListener(name, ({ data, lastEventId }) => events.push(received(name, lastEventId, data)));
  }
  return { events, close: () => source.close() };
}

await run([
  ['eventsource_receives_hostile_content_unharmed', () => arrivesUnharmed(connect)],
  ['eventsource_is_not_fooled_by_what_may_be_refused', () => isRefusedOrHarmless(connect)],
  ['eventsource_resumes_by_itself_after_its_connection_is_cut', () => resumesByItself(connect)],
  ['a_bare_eventsource_cut_before_its_first_event_misses_nothing', () => isWholeBeforeItsFirstEvent(connect)],
  ['all_that_was_over_compressed_streams', async () => deepStrictEqual([...codings], ['gzip'])],
]);
