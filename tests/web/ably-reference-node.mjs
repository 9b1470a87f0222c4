// `clients/reference` in Node.js, with npm `ably` and npm `eventsource`, at a node and the stand-in for Ably.

import Ably from 'ably';
import { EventSource } from 'eventsource';
import { follow } from '../../clients/reference/follow.js';
import { run } from './lib/check.mjs';
import { checks, everybodyOnAbly, place } from './lib/following.mjs';
import { serverUrl } from './lib/harness.mjs';

async function start(bearer, cursor) {
  const [events, states, transports] = [[], [], []];
  let stopped = null;
  let refused = false;
  const following = follow({
    url: serverUrl(),
    cursor,
    token: () => bearer,
    Ably,
    EventSource,
    ablyOptions: place,
    fetch: (...asked) => (refused ? Promise.resolve(new Response(null, { status: 403 })) : fetch(...asked)),
    onEvent: ({ cursor, by }) => events.push({ cursor, by }),
    onTransport: (transport) => transports.push(transport),
    onState: (state) => states.push(state),
    onStop: ({ message }) => { stopped = message; },
  });
  return {
    events: async () => events,
    states: async () => states,
    transports: async () => transports,
    stopped: async () => stopped,
    refuse: async () => { refused = true; },
    stop: async () => following.stop(),
  };
}

await everybodyOnAbly();
await run(checks(start));
