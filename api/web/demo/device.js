// One device of one person: the inbox and the stream, kept in step. It knows nothing of the page.

import { backoff, jittered } from './backoff.js';
import { CatchUp } from './catchup.js';
import { Inbox, VIEWS } from './inbox.js';
import { Session } from './session.js';
import { Stream } from './stream.js';

/** The longest a timer can be set for; an expiry beyond it is looked at again then. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * `hooks` are the device's events: `changed()` (items or count), `arrived(notification)`, `state(state, detail)`,
 * `cursor(cursor)`, `missed(count)`, `beat(sequence, roundTripMs)`, `reset(data)`, `wire(name, data, id)` and
 * `problem(problem)`.
 */
export class Device {
  #session;
  #hooks;
  #stream;
  #catchUp = null;
  /** Whether the stream has been up before: only then is there something to resume. */
  #wasUp = false;
  #disposed = false;
  #connectionId = null;
  #reload = null;
  #expiry = null;

  inbox = new Inbox();
  view = 'all';

  constructor(identity, hooks) {
    this.#hooks = hooks;
    this.#session = new Session(identity);
    this.#stream = new Stream(this.#session, {
      state: (state, detail) => this.#stateIs(state, detail),
      event: (name, data, id) => this.#event(name, data, id),
    });
  }

  /** Loads the inbox, then opens the stream exactly there, so that nothing falls between the two. */
  async start(failures = 0) {
    this.#hooks.state('connecting');
    try {
      const cursor = await this.#loadAll();
      if (!this.#disposed) this.#stream.open(cursor);
    } catch (problem) {
      if (!this.#disposed) this.#notStarted(problem, failures);
    }
  }

  cut() {
    clearTimeout(this.#reload);
    this.#stream.cut();
  }

  /** Comes back from where the stream was; a device that never got its inbox starts over. */
  reconnect() {
    clearTimeout(this.#reload);
    if (this.#stream.cursor) this.#stream.open();
    else this.start();
  }

  dispose() {
    this.#disposed = true;
    this.#stream.dispose();
    this.#catchUp?.stop();
    clearTimeout(this.#reload);
    clearTimeout(this.#expiry);
  }

  // What a person does

  /** `action` is read, unread, archive, unarchive or ack. */
  act(id, action) {
    return this.#attempt(async () => {
      const asOf = this.#stream.cursor;
      this.inbox.marked(id, await this.#session.mark(id, action), asOf);
      await this.#countUnlessLive();
    });
  }

  readAll() {
    return this.#attempt(async () => {
      const { unread, cursor } = await this.#session.readAll();
      this.inbox.counted(unread, cursor);
      // On a live stream the `state` event marks the items; without one they are asked for.
      if (this.#stream.state !== 'open') await this.#load(null);
    });
  }

  /** Switches to a view and asks the server for it. */
  show(view) {
    this.view = view;
    return this.#attempt(() => this.#load(null));
  }

  older() {
    return this.#attempt(() => this.#load(this.inbox.next[this.view]));
  }

  // What the server tells

  #event(name, data, id) {
    this.#hooks.wire(name, data, id);
    this.#hooks.cursor(this.#stream.cursor);
    if (name === 'ready') this.#ready(data);
    else if (id) this.#catchUp?.saw(name, id);
    this[`on_${name}`]?.(data);
  }

  #ready(data) {
    this.#connectionId = data.connection_id;
    this.#catchUp?.stop();
    this.#catchUp = null;
    if (this.#wasUp && data.resumed) this.#resumed();
    else this.#hooks.state('live');
    this.#wasUp = true;
  }

  /** Missed events are on their way. The head, read now, tells where they end and makes the count exact. */
  async #resumed() {
    const catchUp = new CatchUp(() => {
      this.#hooks.missed(catchUp.missed);
      if (catchUp.done && this.#stream.state === 'open') this.#hooks.state('live');
    });
    this.#catchUp = catchUp;
    this.#hooks.state('catching_up');
    await this.#attempt(async () => catchUp.headIs(await this.#count()));
  }

  on_notification(data) {
    if (!this.inbox.arrived(data)) return;
    this.#hooks.changed();
    this.#hooks.arrived(data.notification);
    this.#watchExpiry();
  }

  on_retracted(data) {
    if (this.inbox.retracted(data)) this.#attempt(() => this.#count());
    this.#hooks.changed();
  }

  on_state(data) {
    const missing = this.inbox.changed(data, new Date().toISOString());
    this.#hooks.changed();
    if (missing) this.#attempt(async () => this.inbox.put(await this.#session.notification(missing), data.cursor));
  }

  on_heartbeat({ sequence }) {
    this.#hooks.beat(sequence);
    const sent = performance.now();
    this.#session.heartbeat(this.#connectionId, sequence).then(
      () => this.#hooks.beat(sequence, Math.max(1, Math.round(performance.now() - sent))),
      () => this.#hooks.beat(sequence, null),
    );
  }

  /** The history in between is gone for good: the inbox is the truth, asked for at a moment of our own. */
  on_reset(data) {
    this.#hooks.reset(data);
    clearTimeout(this.#reload);
    this.#reload = setTimeout(() => this.#attempt(() => this.#loadAll()), jittered(data.reload_after_ms ?? 0));
  }

  on_session() {
    this.#attempt(() => this.#session.renew(this.#connectionId));
  }

  #stateIs(state, detail) {
    if (state !== 'open') this.#hooks.state(state, detail);
    if (state !== 'open') this.#catchUp?.stop();
  }

  // Asking the server

  async #loadAll() {
    const { view, inbox } = this;
    const [page, count] = await Promise.all([this.#session.page({ state: VIEWS[view].state }), this.#session.unreadCount()]);
    if (this.#disposed) return null;
    inbox.replace(view, page);
    inbox.counted(count.unread, count.cursor);
    this.#watchExpiry();
    this.#hooks.changed();
    return page.cursor;
  }

  async #load(before) {
    const { view } = this;
    this.inbox.add(view, await this.#session.page({ state: VIEWS[view].state, before }));
  }

  async #count() {
    const { unread, cursor } = await this.#session.unreadCount();
    this.inbox.counted(unread, cursor);
    return cursor;
  }

  /** On a live stream the `state` event brings the count; without one it is asked for. */
  async #countUnlessLive() {
    if (this.#stream.state !== 'open') await this.#count();
  }

  #notStarted(problem, failures) {
    this.#hooks.problem(problem);
    const lasting = problem.status >= 400 && problem.status < 500 && problem.status !== 429;
    if (lasting) return this.#hooks.state('closed', problem.status === 403 ? 'forbidden' : 'unauthorized');
    this.#hooks.state('reconnecting');
    this.#reload = setTimeout(() => this.start(failures + 1), Math.max(problem.retryAfterMs ?? 0, backoff(failures)));
  }

  async #attempt(work) {
    try {
      await work();
    } catch (problem) {
      if (!this.#disposed) this.#hooks.problem(problem);
    }
    if (!this.#disposed) this.#hooks.changed();
  }

  /** Takes expired notifications away at their time, as the server does. */
  #watchExpiry() {
    clearTimeout(this.#expiry);
    const next = this.inbox.nextExpiry();
    if (next === null) return;
    const wait = Math.min(Math.max(0, next - Date.now()), LONGEST_TIMER_MS);
    this.#expiry = setTimeout(() => {
      if (this.inbox.expire(Date.now())) this.#attempt(() => this.#count());
      this.#watchExpiry();
    }, wait);
  }
}
