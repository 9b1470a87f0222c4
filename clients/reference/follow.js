// Follows a person's notifications over Ably while the service says so, and over the event stream otherwise: each event
// once, nothing lost, one cursor over both. For browsers and Node.js, without a build step. README.md says how to use it.

import { Safe } from './safe.js';

/** Where Ably cannot be reached for this long, the stream is listened to meanwhile. */
const FALL_BACK_AFTER_MS = 3_000;
/** Told to go back to Ably this often in a row, we go: nodes may disagree for a moment. */
const TOLD_IN_A_ROW = 2;
const CALL_MS = 10_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 15_000;
/** Heartbeats come every two minutes at least: a stream that is silent for longer is dead. */
const SILENCE_MS = 150_000;
const EVENTS = ['notification', 'retracted', 'state'];

/** A person who is not, or no longer, let in. Nothing is tried again. */
class Refused extends Error {
  constructor(status) {
    super(status === 403 ? 'forbidden' : 'unauthorized');
    this.status = status;
  }
}

/**
 * Begins to follow, and returns `{ stop(), cursor }`.
 *
 * - `url`: the service, without a slash at the end.
 * - `token()`: gives, or promises, a bearer token of the service that counts now.
 * - `Ably`: the module `ably`, or the browser bundle's global. Left out: the stream alone.
 * - `EventSource`: the global one unless given (Node.js: npm `eventsource`).
 * - `ablyOptions`: more options for `Ably.Realtime`; `fetch`: another one than the global.
 * - `cursor`: that of the inbox page on the screen. Left out: from now on.
 * - `onEvent({ cursor, event, data, by })`: each event once; `by` is `ably`, `sse` or `replay`.
 * - `onReset({ reason, from, to, reload_after_ms })`: load the inbox again; events go on from `to`.
 * - `onTransport({ transport, reason })`: what the service says to listen on, as it changes.
 * - `onState({ ably, sse })`: what is open, as it changes.
 * - `onStop(error)`: the person is not let in any more; it has ended.
 */
export function follow(options) {
  return new Following(options);
}

class Following {
  #options;
  #safe = null;
  #stopped = false;
  /** What we were told to listen on. */
  #wanted = null;
  #ablyInARow = TOLD_IN_A_ROW;
  /** Since when we have wanted Ably and not had it. */
  #withoutAbly = 0;
  #stream = null;
  #streamRetryMs = RETRY_MIN_MS;
  #realtime = null;
  /** After `ably-js` has given up it is not begun anew before this moment. */
  #ablyNotBefore = 0;
  /** What our token for Ably gives, by channel. */
  #granted = [];
  /** Whether no gap is open on Ably, and what came while one was. */
  #settled = false;
  #held = [];
  #replaying = null;
  #timers = new Map();
  #state = JSON.stringify({ ably: false, sse: false });

  constructor(options) {
    this.#options = { fetch: (...call) => fetch(...call), EventSource: globalThis.EventSource, ...options };
    if (options.cursor) this.#safe = new Safe(options.cursor);
    this.#poll();
  }

  /** Up to here everything was shown. A later `follow` may begin with it. */
  get cursor() {
    return this.#safe?.cursor ?? null;
  }

  stop() {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#closeStream();
    this.#closeAbly();
  }

  // The service --------------------------------------------------------------------------------------------------

  async #call(method, path) {
    // A second 401 is final: `token` has no better one.
    for (let attempt = 0; ; attempt += 1) {
      const response = await this.#options.fetch(this.#options.url + path, {
        method,
        headers: { authorization: `Bearer ${await this.#options.token()}` },
        signal: AbortSignal.timeout(CALL_MS),
        ...(this.#options.credentials && { credentials: this.#options.credentials }),
      });
      if (response.ok) return response;
      if (response.status === 403 || (response.status === 401 && attempt > 0)) throw new Refused(response.status);
      if (response.status !== 401) {
        const wait = Number(response.headers.get('retry-after')) * 1000;
        throw Object.assign(new Error(`${method} ${path} answered ${response.status}`), { wait });
      }
    }
  }

  /** Asks what to listen on, and compares what we have with the log. */
  async #poll() {
    const after = this.#safe?.cursor;
    try {
      const response = await this.#call('GET', `/v1/transport${after ? `?after=${after}` : ''}`);
      const answer = await response.json();
      if (this.#stopped) return;
      this.#later('poll', answer.poll_after_ms, () => this.#poll());
      this.#safe ??= new Safe(answer.cursor);
      this.#goBy(answer);
      // On a stream everything comes by itself.
      if (after && this.#settled && !this.#stream && !this.#safe.answered(after, answer)) await this.#replay();
    } catch (error) {
      this.#failed(error, 'poll', () => this.#poll());
    }
  }

  #goBy({ transport, reason }) {
    this.#ablyInARow = transport === 'ably' ? this.#ablyInARow + 1 : 0;
    const wanted = transport === 'ably' && this.#options.Ably ? 'ably' : 'sse';
    if (wanted === this.#wanted || (wanted === 'ably' && this.#ablyInARow < TOLD_IN_A_ROW)) return;
    this.#wanted = wanted;
    this.#withoutAbly = Date.now();
    this.#options.onTransport?.({ transport: wanted, reason });
    this.#tend();
  }

  /** Opens what is wanted; closes what is not, once what is wanted is there. */
  #tend() {
    if (this.#stopped) return;
    if (this.#wanted === 'sse') {
      if (!this.#stream) this.#openStream();
      else if (this.#stream.open) this.#closeAbly();
    } else {
      if (!this.#realtime && Date.now() >= this.#ablyNotBefore) this.#openAbly();
      if (this.#settled) {
        this.#closeStream();
      } else {
        const waited = Date.now() - this.#withoutAbly;
        if (waited >= FALL_BACK_AFTER_MS && !this.#stream) this.#openStream();
        else if (!this.#stream) this.#later('fall back', FALL_BACK_AFTER_MS - waited, () => this.#tend());
      }
    }
    this.#tell();
  }

  /** Reads what we missed, to its end. One at a time: who comes meanwhile gets the one that is under way. */
  #replay() {
    this.#replaying ??= this.#readReplay().finally(() => {
      this.#replaying = null;
    });
    return this.#replaying;
  }

  async #readReplay() {
    let replay = this.#safe.replay();
    for (;;) {
      const response = await this.#call('GET', `/v1/events/replay?after=${replay.after}&limit=1000`);
      const page = await response.json();
      if (this.#stopped) return;
      if (page.reset) return this.#reset(replay, page.reset);
      this.#take(replay, page.events, page.cursor, !page.has_more, 'replay');
      if (!page.has_more) return;
      replay = { ...replay, after: page.cursor };
    }
  }

  #take(replay, events, cursor, reachedHead, by) {
    const fresh = new Set(this.#safe.replayed(replay, events.map((event) => event.cursor), cursor, reachedHead));
    for (const event of events) if (fresh.has(event.cursor)) this.#show(event.event, event.data, by);
  }

  #reset(replay, reset) {
    this.#safe.reset(replay, reset.to);
    this.#options.onReset?.(reset);
  }

  #show(event, data, by) {
    this.#options.onEvent({ cursor: data.cursor, event, data, by });
  }

  // The event stream ---------------------------------------------------------------------------------------------

  /** An `EventSource` cannot send a bearer token: it is opened with a ticket, from our safe cursor. */
  async #openStream() {
    const replay = this.#safe.replay();
    const stream = { replay, open: false, source: null };
    this.#stream = stream;
    try {
      const { ticket } = await (await this.#call('POST', '/v1/stream/tickets')).json();
      if (this.#stream !== stream) return;
      const query = new URLSearchParams({ ticket, last_event_id: replay.after });
      const { EventSource, withCredentials = false } = this.#options;
      stream.source = new EventSource(`${this.#options.url}/v1/stream?${query}`, { withCredentials });
    } catch (error) {
      if (this.#stream !== stream) return;
      this.#stream = null;
      this.#failed(error, 'stream', () => this.#tend());
      return;
    }
    const on = (name, take) => stream.source.addEventListener(name, (message) => {
      if (this.#stream !== stream) return;
      this.#later('silence', SILENCE_MS, () => this.#streamEnded(stream));
      take(JSON.parse(message.data), message.lastEventId);
    });
    on('ready', () => {
      stream.open = true;
      this.#streamRetryMs = RETRY_MIN_MS;
      this.#tend();
    });
    // Everything up to a heartbeat's id has been sent.
    on('heartbeat', (_, id) => this.#take(replay, [], id, false, 'sse'));
    for (const event of EVENTS) {
      on(event, (data, cursor) => this.#take(replay, [{ cursor, event, data }], cursor, false, 'sse'));
    }
    on('reset', (reset) => this.#reset(replay, reset));
    on('closing', ({ reconnect, after_ms }) => {
      this.#streamRetryMs = Math.max(after_ms, reconnect ? RETRY_MIN_MS : RETRY_MAX_MS);
    });
    stream.source.addEventListener('error', () => this.#streamEnded(stream));
  }

  /** Whatever ended it: a new one, from where we are. A browser would come back by itself, but only while it has the
   * ticket's cookie, and from its own last id. */
  #streamEnded(stream) {
    if (this.#stream !== stream) return;
    this.#closeStream();
    this.#tell();
    this.#later('stream', this.#streamRetryMs * (1 + Math.random()), () => this.#tend());
    this.#streamRetryMs = Math.min(this.#streamRetryMs * 2, RETRY_MAX_MS);
  }

  #closeStream() {
    this.#stream?.source?.close();
    this.#stream = null;
  }

  // Ably ---------------------------------------------------------------------------------------------------------

  #openAbly() {
    const realtime = new this.#options.Ably.Realtime({
      // Not `authUrl`: our bearer token changes over time. What it gets is the same.
      authCallback: (_, done) => this.#ablyToken().then((token) => done(null, token), (error) => done(error, null)),
      // A client that waits for 15 s is on the stream long before.
      disconnectedRetryTimeout: 2_000,
      ...this.#options.ablyOptions,
    });
    this.#realtime = realtime;
    realtime.connection.on((change) => {
      if (this.#realtime !== realtime) return;
      if (change.current === 'connected') this.#attach(realtime);
      else if (change.current === 'failed') this.#ablyFailed(change.reason);
      else if (change.current !== 'connecting') this.#ablyLost();
    });
  }

  /** What Ably is shown: a JWT, or a request that it exchanges. 403 ends `ably-js`, anything else it tries again. */
  async #ablyToken() {
    try {
      const response = await this.#call('GET', '/v1/ably/token');
      const json = response.headers.get('content-type').startsWith('application/json');
      const token = json ? await response.json() : await response.text();
      this.#granted = Object.keys(JSON.parse(json ? token.capability : claims(token)['x-ably-capability']));
      return token;
    } catch (error) {
      const statusCode = error instanceof Refused ? error.status : 503;
      throw Object.assign(new Error(error.message), { code: statusCode * 100, statusCode });
    }
  }

  #attach(realtime) {
    for (const name of this.#granted) {
      const known = realtime.channels.all?.[name];
      const channel = realtime.channels.get(name);
      if (!known) {
        channel.on(['attached', 'update'], ({ resumed }) => this.#attached(realtime, resumed));
        // Somebody took the right away: the channel is none of ours any more.
        channel.on('failed', () => this.#settle(realtime));
        channel.subscribe((message) => this.#heard(realtime, message)).catch(() => {});
      } else if (channel.state !== 'attached' && channel.state !== 'attaching') {
        channel.attach().catch(() => {});
      }
    }
    this.#settle(realtime);
  }

  #attached(realtime, resumed) {
    if (this.#realtime !== realtime) return;
    if (!resumed) {
      this.#safe.joined();
      this.#settled = false;
    }
    this.#settle(realtime);
  }

  /** Once every channel is attached: closes the gap in front of them, then shows what came behind it. */
  async #settle(realtime) {
    const done = (name) => ['attached', 'failed'].includes(realtime.channels.get(name).state);
    if (this.#realtime !== realtime || this.#settled || realtime.connection.state !== 'connected') return;
    if (!this.#granted.every(done)) return;
    try {
      while (this.#safe.gap) await this.#replay();
    } catch (error) {
      this.#failed(error, 'settle', () => this.#settle(realtime));
      return;
    }
    if (this.#realtime !== realtime || this.#stopped || realtime.connection.state !== 'connected') return;
    this.#settled = true;
    for (const message of this.#held.splice(0)) this.#heard(realtime, message);
    this.#tend();
  }

  #heard(realtime, message) {
    if (this.#realtime !== realtime) return;
    if (!this.#settled) {
      this.#held.push(message);
      return;
    }
    const data = typeof message.data === 'string' ? JSON.parse(message.data) : message.data;
    if (this.#safe.received(data.cursor)) this.#show(message.name, data, 'ably');
    // No more cursors can be remembered: the replay brings it.
    else if (this.#safe.gap) this.#later('poll', 0, () => this.#poll());
  }

  /** `ably-js` tries again by itself; we ask the service what to do. */
  #ablyLost() {
    if (!this.#settled) return;
    this.#settled = false;
    this.#withoutAbly = Date.now();
    this.#later('poll', Math.random() * 500, () => this.#poll());
    this.#tend();
  }

  /** `ably-js` has given up. After a refusal the stream says whether that was meant for us as a whole. */
  #ablyFailed() {
    const pause = RETRY_MAX_MS * (1 + Math.random());
    this.#closeAbly();
    // What made it give up is seldom over soon.
    this.#ablyNotBefore = Date.now() + pause;
    this.#withoutAbly = 0;
    this.#later('ably', pause, () => this.#tend());
    this.#tend();
  }

  #closeAbly() {
    const realtime = this.#realtime;
    this.#realtime = null;
    this.#settled = false;
    this.#held = [];
    realtime?.close();
  }

  // Around -------------------------------------------------------------------------------------------------------

  #failed(error, what, again) {
    if (this.#stopped) return;
    if (error instanceof Refused) {
      this.stop();
      this.#tell();
      this.#options.onStop?.(error);
      return;
    }
    this.#later(what, error.wait || RETRY_MIN_MS * (1 + 3 * Math.random()), again);
  }

  /** One timer of each name. */
  #later(what, ms, then) {
    clearTimeout(this.#timers.get(what));
    if (!this.#stopped) this.#timers.set(what, setTimeout(then, Math.max(0, ms)));
  }

  #tell() {
    const state = { ably: this.#settled, sse: this.#stream?.open ?? false };
    const text = JSON.stringify(state);
    if (text === this.#state) return;
    this.#state = text;
    this.#options.onState?.(state);
  }
}

/** The claims of a JWT. What they say is not trusted here, Ably verifies them: we only read which channels there are. */
function claims(jwt) {
  const bytes = Uint8Array.from(atob(jwt.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}
