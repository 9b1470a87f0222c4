// Tells missed from new after a resume: whatever is not after the log's head at that moment was missed.

import { isAfter } from './cursor.js';

/** With the head known and nothing arriving for this long, the stream has caught up. */
const QUIET_MS = 300;

export class CatchUp {
  #head = null;
  #seen = [];
  #last = null;
  #timer = null;
  #changed;

  done = false;

  /** `changed` is called when the count of missed notifications or `done` changes. */
  constructor(changed) {
    this.#changed = changed;
  }

  /** How many notifications arrived that were published while the stream was away. */
  get missed() {
    return this.#head === null ? 0 : this.#seen.filter((cursor) => !isAfter(cursor, this.#head)).length;
  }

  /** Every event after `ready`, with its cursor. */
  saw(name, cursor) {
    if (this.done) return;
    this.#last = cursor;
    if (name === 'notification') this.#seen.push(cursor);
    this.#settle();
  }

  /** The head of the log, as read when the stream was ready. */
  headIs(cursor) {
    this.#head = cursor;
    this.#settle();
  }

  /** The stream went away again. */
  stop() {
    clearTimeout(this.#timer);
    this.done = true;
  }

  #settle() {
    clearTimeout(this.#timer);
    if (this.#head !== null) {
      const arrived = this.#last !== null && !isAfter(this.#head, this.#last);
      if (arrived) this.done = true;
      else this.#timer = setTimeout(() => this.#finish(), QUIET_MS);
    }
    this.#changed();
  }

  #finish() {
    this.done = true;
    this.#changed();
  }
}
