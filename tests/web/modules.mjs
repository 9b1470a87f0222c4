// The demo page's inbox against a model: whatever the order in which events and answers arrive, it ends up right.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { CatchUp } from '../../api/web/demo/catchup.js';
import { isAfter, newestFirst, parse } from '../../api/web/demo/cursor.js';
import { Inbox } from '../../api/web/demo/inbox.js';
import { run } from './lib/check.mjs';
import { randomFrom } from './lib/random.mjs';

const RUNS = 1000;
const STEPS = 60;
const NOW = '2024-06-01T12:00:00Z';
const CHANGED = { read: 'read', unread: 'unread', archive: 'archived', unarchive: 'unarchived', ack: 'acknowledged' };

/** What the server would do, in as few lines as it takes. */
class Server {
  log = [];
  items = new Map();

  get cursor() {
    return `e-${this.log.length}`;
  }

  get unread() {
    return [...this.items.values()].filter(({ state }) => !state.read_at && !state.archived_at).length;
  }

  publish() {
    const id = `n${this.log.length + 1}`;
    const item = { cursor: `e-${this.log.length + 1}`, channel: 'private:user:u:notifications', notification: { id }, state: { read_at: null, archived_at: null, acknowledged_at: null } };
    this.items.set(id, item);
    this.log.push({ event: 'notification', data: structuredClone({ cursor: item.cursor, channel: item.channel, notification: item.notification }) });
  }

  mark(id, action) {
    const { state } = this.items.get(id);
    if (action === 'read' || action === 'ack') state.read_at ??= NOW;
    if (action === 'ack') state.acknowledged_at ??= NOW;
    if (action === 'unread') state.read_at = null;
    if (action === 'archive') state.archived_at ??= NOW;
    if (action === 'unarchive') state.archived_at = null;
    this.#tell(id, CHANGED[action]);
    return structuredClone(state);
  }

  readAll() {
    const upTo = this.cursor;
    for (const { state } of this.items.values()) state.read_at ??= NOW;
    this.#tell(null, 'read_all', upTo);
  }

  retract(id) {
    this.items.delete(id);
    this.log.push({ event: 'retracted', data: { cursor: `e-${this.log.length + 1}`, notification_id: id } });
  }

  page() {
    const items = structuredClone([...this.items.values()]).filter(({ state }) => !state.archived_at).reverse();
    return { items, next: null, cursor: this.cursor };
  }

  list(archived) {
    return [...this.items.values()].filter(({ state }) => Boolean(state.archived_at) === archived).map(({ notification }) => notification.id).reverse();
  }

  #tell(id, change, upTo = null) {
    const cursor = `e-${this.log.length + 1}`;
    this.log.push({ event: 'state', data: { cursor, notification_id: id, change, up_to: upTo, unread: this.unread, unread_as_of: cursor } });
  }
}

/** A device: it has heard the log up to `heard`; answers wait in `asked` until they are let through. */
class Client {
  inbox = new Inbox();
  heard = 0;
  asked = [];

  constructor(server) {
    this.server = server;
    const page = server.page();
    this.inbox.replace('all', page);
    this.inbox.counted(server.unread, page.cursor);
    this.heard = server.log.length;
  }

  get cursor() {
    return `e-${this.heard}`;
  }

  hear() {
    const { event, data } = structuredClone(this.server.log[this.heard]);
    this.heard += 1;
    if (event === 'notification') this.inbox.arrived(data);
    if (event === 'retracted' && this.inbox.retracted(data)) this.askCount();
    const missing = event === 'state' && this.inbox.changed(data, NOW);
    if (missing) this.askItem(missing, data.cursor);
  }

  askPage() {
    const page = this.server.page();
    this.asked.push(() => this.inbox.replace('all', page));
  }

  askCount() {
    const { unread, cursor } = this.server;
    this.asked.push(() => this.inbox.counted(unread, cursor));
  }

  askItem(id, asOf) {
    const item = structuredClone(this.server.items.get(id));
    if (item) this.asked.push(() => this.inbox.put(item, asOf));
  }

  mark(id, action) {
    const asOf = this.cursor;
    const state = this.server.mark(id, action);
    this.asked.push(() => this.inbox.marked(id, state, asOf));
  }
}

function oneRun(seed) {
  const random = randomFrom(seed);
  const pick = (some) => some[Math.floor(random() * some.length)];
  const server = new Server();
  for (let n = 0; n < 3; n += 1) server.publish();
  const client = new Client(server);
  const moves = {
    publish: () => server.publish(),
    other: () => server.items.size && server.mark(pick([...server.items.keys()]), pick(Object.keys(CHANGED))),
    own: () => server.items.size && client.mark(pick([...server.items.keys()]), pick(Object.keys(CHANGED))),
    readAll: () => random() < 0.3 && server.readAll(),
    retract: () => server.items.size && random() < 0.5 && server.retract(pick([...server.items.keys()])),
    page: () => client.askPage(),
    count: () => client.askCount(),
    hear: () => client.heard < server.log.length && client.hear(),
    answer: () => client.asked.length && client.asked.splice(Math.floor(random() * client.asked.length), 1)[0](),
  };
  for (let step = 0; step < STEPS; step += 1) moves[pick(Object.keys(moves))]();
  while (client.heard < server.log.length || client.asked.length) {
    if (client.heard < server.log.length && random() < 0.7) client.hear();
    else moves.answer();
  }
  return { server, client };
}

function theInboxEndsUpRight() {
  for (let seed = 1; seed <= RUNS; seed += 1) {
    const { server, client } = oneRun(seed);
    strictEqual(client.inbox.unread, server.unread, `unread, seed ${seed}`);
    const known = new Set(client.inbox.list('all').map(({ notification }) => notification.id));
    deepStrictEqual([...known], server.list(false), `the list, seed ${seed}`);
    for (const { notification, state } of client.inbox.list('all')) deepStrictEqual(state, server.items.get(notification.id).state, `${notification.id}, seed ${seed}`);
  }
  return { runs: RUNS };
}

function cursorsAreCompared() {
  ok(isAfter('e-10', 'e-9') && !isAfter('e-9', 'e-10') && !isAfter('e-9', 'e-9'));
  ok(!isAfter('f-10', 'e-9'), 'two histories were compared');
  ok(isAfter('e-18446744073709551615', 'e-18446744073709551614'), 'large positions lost their last digit');
  for (const none of ['', null, undefined, 'e', 'e-', 'e-01', 'E-1', 'e-1 ', '-1']) strictEqual(parse(none), null, String(none));
  deepStrictEqual(['e-2', 'e-10', 'e-9'].sort(newestFirst), ['e-10', 'e-9', 'e-2']);
}

function missedIsToldFromNew() {
  const catchUp = new CatchUp(() => {});
  catchUp.saw('notification', 'e-5');
  strictEqual(catchUp.missed, 0, 'counted before the head is known');
  catchUp.headIs('e-7');
  catchUp.saw('state', 'e-6');
  ok(!catchUp.done);
  catchUp.saw('notification', 'e-7');
  ok(catchUp.done);
  catchUp.saw('notification', 'e-8');
  strictEqual(catchUp.missed, 2);
  catchUp.stop();
}

await run([
  ['the_inbox_ends_up_right_whatever_the_order_of_events_and_answers', async () => theInboxEndsUpRight()],
  ['cursors_are_compared_within_their_history_only', async () => cursorsAreCompared()],
  ['missed_notifications_are_told_from_new_ones', async () => missedIsToldFromNew()],
]);
