// `clients/reference` in Chromium, with the browser bundle of npm `ably`, at a node and the stand-in for Ably. The page and
// the node stand behind one proxy, so that they have one origin.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { run } from './lib/check.mjs';
import { launch } from './lib/demo-page.mjs';
import { checks, everybodyOnAbly, place } from './lib/following.mjs';
import { serverUrl } from './lib/harness.mjs';

const PAGE = '<!doctype html><meta charset="utf-8"><title>Reference</title><script src="ably.min.js"></script>';
const client = (name) => readFile(new URL(`../../clients/reference/${name}`, import.meta.url));
const files = {
  'page.html': ['text/html', PAGE],
  'ably.min.js': ['text/javascript', await readFile(new URL('node_modules/ably/build/ably.min.js', import.meta.url))],
  'follow.js': ['text/javascript', await client('follow.js')],
  'safe.js': ['text/javascript', await client('safe.js')],
};

/** Gives the page, and hands everything else on to the node. */
const site = createServer((asked, answer) => {
  const file = asked.url.startsWith('/reference/') && files[asked.url.split('/').at(-1)];
  if (file) return answer.writeHead(200, { 'content-type': file[0] }).end(file[1]);
  const onward = request(serverUrl() + asked.url, { method: asked.method, headers: asked.headers }, (given) => {
    answer.writeHead(given.statusCode, given.headers);
    given.pipe(answer);
  });
  onward.on('error', () => answer.destroy());
  answer.on('close', () => onward.destroy());
  return asked.pipe(onward);
});
site.listen(0, '127.0.0.1');
await once(site, 'listening');
const origin = `http://127.0.0.1:${site.address().port}`;

const browser = await launch();

async function start(bearer, cursor) {
  const page = await browser.newPage();
  await page.goto(`${origin}/reference/page.html`);
  await page.evaluate(async ([token, ablyOptions, cursor]) => {
    const { follow } = await import('/reference/follow.js');
    window.noted = { events: [], states: [], transports: [], stopped: null };
    window.refused = false;
    window.following = follow({
      url: location.origin,
      cursor,
      token: () => token,
      Ably: window.Ably,
      ablyOptions,
      fetch: (...asked) => (window.refused ? Promise.resolve(new Response(null, { status: 403 })) : fetch(...asked)),
      onEvent: ({ cursor, by }) => window.noted.events.push({ cursor, by }),
      onTransport: (transport) => window.noted.transports.push(transport),
      onState: (state) => window.noted.states.push(state),
      onStop: ({ message }) => { window.noted.stopped = message; },
    });
  }, [bearer, place, cursor]);
  const noted = (what) => () => page.evaluate((name) => window.noted[name], what);
  return {
    events: noted('events'),
    states: noted('states'),
    transports: noted('transports'),
    stopped: noted('stopped'),
    refuse: () => page.evaluate(() => { window.refused = true; }),
    stop: () => page.close(),
  };
}

await everybodyOnAbly();
await run(checks(start), async () => {
  await browser.close();
  site.close();
});
