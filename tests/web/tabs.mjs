// Twelve tabs of one origin in a real Chromium, behind the proxy: browsers open six connections to an origin over
// HTTP/1.1 and the seventh waits for ever, so this needs HTTP/2.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { publish, somebody, token } from './lib/arauto.mjs';
import { run } from './lib/check.mjs';
import { launch } from './lib/demo-page.mjs';
import { setting } from './lib/harness.mjs';
import { until } from './lib/until.mjs';

const TABS = 12;
/** The proxy's address for browsers. */
const front = setting('FRONT_URL');

const browser = await launch();

/** Opens a tab whose native EventSource is ticketed as the contract says; notes what it got, over which protocol and how coded. */
async function streamingTab(context, bearer) {
  const page = await context.newPage();
  const [protocols, codings] = [[], []];
  const wire = await context.newCDPSession(page);
  wire.on('Network.responseReceived', ({ type, response }) => {
    if (type !== 'EventSource') return;
    protocols.push(response.protocol);
    codings.push(response.headers['content-encoding']);
  });
  await wire.send('Network.enable');
  await page.goto(`${front}/health/live`);
  await page.evaluate(async (bearer) => {
    window.titles = [];
    window.ready = 0;
    const answer = await fetch('/v1/stream/tickets', { method: 'POST', headers: { authorization: `Bearer ${bearer}` } });
    const { ticket } = await answer.json();
    const source = new EventSource(`/v1/stream?ticket=${ticket}`);
    source.addEventListener('ready', () => { window.ready += 1; });
    source.addEventListener('notification', ({ data }) => window.titles.push(JSON.parse(data).notification.title));
  }, bearer);
  return { page, protocols, codings, titles: () => page.evaluate(() => window.titles), live: () => page.evaluate(() => window.ready === 1) };
}

/** All tabs share cookies and connections, as the tabs of one window do. */
async function inOneWindow(body) {
  // The page is only a place of this origin to stand in, whatever it allows itself to load.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, bypassCSP: true });
  try {
    return await body(context);
  } finally {
    await context.close();
  }
}

const twelveTabsAreLive = () => inOneWindow(async (context) => {
  const person = somebody('ana');
  const bearer = await token(person);
  const tabs = [];
  for (let n = 0; n < TABS; n += 1) tabs.push(await streamingTab(context, bearer));
  const count = async (condition) => (await Promise.all(tabs.map(condition))).filter(Boolean).length;
  let live = 0;
  await until(() => `${TABS} live tabs, there are ${live}`, async () => (live = await count((tab) => tab.live())) === TABS);

  await publish({ audience: { everyone: true }, title: 'Para todas as abas' });
  await publish({ audience: { users: [person] }, title: 'Só para Ana' });
  let served = 0;
  await until(() => `${TABS} tabs with both, there are ${served}`, async () => (served = await count(async (tab) => (await tab.titles()).length === 2)) === TABS);
  for (const tab of tabs) {
    deepStrictEqual(await tab.titles(), ['Para todas as abas', 'Só para Ana']);
    deepStrictEqual([tab.protocols, tab.codings], [['h2'], ['gzip']]);
  }
});

const aSocketPassesTheProxy = () => inOneWindow(async (context) => {
  const person = somebody('bruno');
  const page = await context.newPage();
  await page.goto(`${front}/health/live`);
  await page.evaluate(({ bearer, front }) => {
    window.frames = [];
    const socket = new WebSocket(`${front.replace('https', 'wss')}/v1/ws`, 'arauto.v1');
    socket.onopen = () => socket.send(JSON.stringify({ op: 'hello', token: bearer }));
    socket.onmessage = ({ data }) => window.frames.push(JSON.parse(data));
    socket.onclose = ({ code, reason }) => window.frames.push({ event: `closed ${code} ${reason}` });
  }, { bearer: await token(person), front });
  const events = () => page.evaluate(() => window.frames.map(({ event }) => event));
  await until('the socket', async () => (await events()).includes('ready'));
  await publish({ audience: { users: [person] }, title: 'Pelo soquete' });
  await until('the notification', async () => (await events()).includes('notification'));
  deepStrictEqual(await events(), ['ready', 'notification']);
});

async function theProxyKeepsToItselfWhatIsNotForBrowsers() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const metrics = await context.request.get(`${front}/metrics`);
  strictEqual(metrics.status(), 404);
  const page = await context.request.get(`${front}/health/ready`);
  strictEqual(page.status(), 200);
  const insecure = await context.request.get(setting('REDIRECT_URL'), { maxRedirects: 0 });
  strictEqual(insecure.status(), 301);
  ok(insecure.headers().location.startsWith('https://'), insecure.headers().location);
  await context.close();
}

await run(
  [
    ['twelve_tabs_of_one_origin_are_all_live_and_all_get_a_broadcast', twelveTabsAreLive],
    ['a_web_socket_passes_the_proxy', aSocketPassesTheProxy],
    ['the_proxy_keeps_to_itself_what_is_not_for_browsers', theProxyKeepsToItselfWhatIsNotForBrowsers],
  ],
  () => browser.close(),
);
