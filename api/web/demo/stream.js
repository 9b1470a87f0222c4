// One event stream that stays up: the browser's own EventSource while it can, a new ticket when it cannot.

import { backoff } from './backoff.js';
import { Problem } from './api.js';

const EVENTS = ['ready', 'notification', 'retracted', 'state', 'heartbeat', 'reset', 'session', 'closing'];
/** A stream silent for this long, or for three heartbeats if that is longer, is taken for dead. */
const SILENCE_MS = 180_000;

/**
 * `listener.event(name, data, id)` gets every event; `listener.state(state, detail)` every change of:
 * `connecting`, `open`, `reconnecting` (by itself), `cut` (by the person), `closed` (for good; `detail` tells why).
 */
export class Stream {
  #session;
  #listener;
  #source = null;
  #failures = 0;
  #retry = null;
  #watchdog = null;
  #silenceMs = SILENCE_MS;
  /** Grows with each start and stop, so that an answer which comes too late is known as such. */
  #era = 0;

  /** The last cursor: where the next connection goes on. */
  cursor = null;
  state = 'idle';

  constructor(session, listener) {
    this.#session = session;
    this.#listener = listener;
    addEventListener('online', this.#hurry);
  }

  /** Connects, going on after `cursor`. */
  open(cursor = this.cursor) {
    this.#stop();
    this.cursor = cursor;
    this.#failures = 0;
    this.#become('connecting');
    this.#connect();
  }

  /** Drops the connection without a word, as a broken network would, and stays away. */
  cut() {
    this.#stop();
    this.#become('cut');
  }

  /** Ends this object's life. */
  dispose() {
    removeEventListener('online', this.#hurry);
    this.#stop();
    this.state = 'idle';
  }

  #become(state, detail = null) {
    this.state = state;
    this.#listener.state(state, detail);
  }

  #stop() {
    this.#era += 1;
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
    this.#retry = null;
    this.#source?.close();
    this.#source = null;
  }

  async #connect() {
    const era = this.#era;
    try {
      const ticket = await this.#session.ticket();
      if (era === this.#era) this.#listen(ticket);
    } catch (problem) {
      if (era === this.#era) this.#refused(problem);
    }
  }

  #listen(ticket) {
    const query = new URLSearchParams({ ticket });
    if (this.cursor) query.set('last_event_id', this.cursor);
    const source = new EventSource(`/v1/stream?${query}`);
    this.#source = source;
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#take(source, name, event));
    source.onerror = () => this.#broken(source);
    this.#watch();
  }

  #take(source, name, event) {
    if (source !== this.#source) return;
    // `session` and `closing` carry no id: the browser then repeats the last one it saw.
    if (event.lastEventId) this.cursor = event.lastEventId;
    const data = JSON.parse(event.data);
    if (name === 'ready') {
      this.#failures = 0;
      this.#silenceMs = Math.max(SILENCE_MS, 3 * data.heartbeat_interval_ms);
      this.#become('open');
    }
    this.#watch();
    this.#listener.event(name, data, event.lastEventId);
    if (name === 'closing') this.#closing(data);
  }

  /** The server says goodbye. Unless it asks us back, we stay away until the person wants in again. */
  #closing({ reason, reconnect }) {
    if (reconnect && reason !== 'replaced') return this.#become('reconnecting', reason);
    this.#stop();
    this.#become('closed', reason);
  }

  #broken(source) {
    if (source !== this.#source) return;
    if (this.state !== 'reconnecting') this.#become('reconnecting');
    // While CONNECTING, the browser comes back by itself, at the pace of the server's `retry:`.
    if (source.readyState === EventSource.CLOSED) this.#again();
  }

  #refused(problem) {
    if (problem instanceof Problem && (problem.status === 401 || problem.status === 403)) {
      this.#stop();
      return this.#become('closed', problem.status === 401 ? 'unauthorized' : 'forbidden');
    }
    if (this.state !== 'reconnecting') this.#become('reconnecting');
    this.#again(problem.retryAfterMs ?? 0);
  }

  /** A new ticket and a new EventSource, after a while of our own. */
  #again(atLeastMs = 0) {
    this.#stop();
    this.#retry = setTimeout(() => this.#reopen(), Math.max(atLeastMs, backoff(this.#failures)));
    this.#failures += 1;
  }

  #reopen() {
    this.#retry = null;
    this.#connect();
  }

  #hurry = () => {
    if (this.#retry === null) return;
    clearTimeout(this.#retry);
    this.#reopen();
  };

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#become('reconnecting', 'silent');
      this.#again();
    }, this.#silenceMs);
  }
}
