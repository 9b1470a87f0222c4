// `@microsoft/fetch-event-source`: the client that sends headers, on our stream. It expects a browser around it.

import { run } from './lib/check.mjs';
import { serverUrl } from './lib/harness.mjs';
import { arrivesUnharmed, isRefusedOrHarmless } from './lib/hostile.mjs';
import { isWholeBeforeItsFirstEvent, resumesByItself } from './lib/resume.mjs';
import { received } from './lib/until.mjs';

// As much of a window as the library touches: timers, fetch, and a document that is never hidden.
globalThis.window = { setTimeout, clearTimeout, fetch };
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');

async function connect(bearer, base = serverUrl()) {
  const events = [];
  const gone = new AbortController();
  fetchEventSource(`${base}/v1/stream`, {
    headers: { authorization: `Bearer ${bearer}` },
    signal: gone.signal,
    openWhenHidden: true,
    onmessage: ({ event, id, data }) => {
      // It hands out an empty message for a frame of `retry:` alone, which the WHATWG rules would not dispatch.
      if (event) events.push(received(event, id, data));
    },
    onclose: () => {
      throw new Error('the stream ended'); // Its way of asking for a reconnect after a clean end.
    },
    onerror: () => undefined, // Its way of saying: try again at the server's pace.
  });
  return { events, close: () => gone.abort() };
}

await run([
  ['fetch_event_source_receives_hostile_content_unharmed', () => arrivesUnharmed(connect)],
  ['fetch_event_source_is_not_fooled_by_what_may_be_refused', () => isRefusedOrHarmless(connect)],
  ['fetch_event_source_resumes_by_itself_after_its_connection_is_cut', () => resumesByItself(connect)],
  ['fetch_event_source_cut_before_its_first_event_misses_nothing', () => isWholeBeforeItsFirstEvent(connect)],
]);
