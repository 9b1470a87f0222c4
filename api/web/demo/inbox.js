// What a person has: items and an unread count that stays exact while events arrive. No page, no network timing.

import { isAfter, newestFirst } from './cursor.js';

const isUnread = (item) => !item.state.read_at && !item.state.archived_at;

/** What each view shows. The server is asked for `state`; `null` is its default. */
export const VIEWS = {
  all: { state: null, shows: (item) => !item.state.archived_at },
  unread: { state: 'unread', shows: isUnread },
  archived: { state: 'archived', shows: (item) => Boolean(item.state.archived_at) },
};

export class Inbox {
  #items = new Map();
  /** Unread as the server counted it, and the cursor at which that was true. */
  #counted = { unread: 0, asOf: null };
  /** Ids of unread notifications that arrived after `asOf`. */
  #later = new Map();

  /** Where older items of each view go on. */
  next = { all: null, unread: null, archived: null };

  get unread() {
    return Math.max(0, this.#counted.unread + this.#later.size);
  }

  has(id) {
    return this.#items.has(id);
  }

  get(id) {
    return this.#items.get(id);
  }

  /** The items of a view, newest first. */
  list(view) {
    return [...this.#items.values()].filter(VIEWS[view].shows).sort((a, b) => newestFirst(a.cursor, b.cursor));
  }

  clear() {
    this.#items.clear();
    this.#later.clear();
    this.next = { all: null, unread: null, archived: null };
  }

  /** A page of the list. */
  add(view, { items, next }) {
    for (const item of items) this.put(item);
    this.next[view] = next ?? null;
  }

  /** One item as the server gives it. */
  put(item) {
    this.#items.set(item.notification.id, item);
  }

  /** The server's count; it replaces ours unless it is older than what we already know. */
  counted(unread, asOf) {
    if (this.#counted.asOf && isAfter(this.#counted.asOf, asOf)) return;
    this.#counted = { unread, asOf };
    for (const [id, cursor] of this.#later) if (!isAfter(cursor, asOf)) this.#later.delete(id);
  }

  /** A `notification` event. Answers whether it was news. */
  arrived({ cursor, channel, notification }) {
    if (this.#items.has(notification.id)) return false;
    this.put({ cursor, channel, notification, state: { read_at: null, archived_at: null, acknowledged_at: null } });
    if (!this.#counted.asOf || isAfter(cursor, this.#counted.asOf)) this.#later.set(notification.id, cursor);
    return true;
  }

  /** A `retracted` event, or an item that expired. Answers whether the count has to be asked for. */
  gone(id, cursor = null) {
    const item = this.#items.get(id);
    this.#items.delete(id);
    if (this.#later.delete(id)) return false;
    if (cursor && this.#counted.asOf && !isAfter(cursor, this.#counted.asOf)) return false;
    if (!item) return true;
    if (isUnread(item)) this.#counted.unread -= 1;
    return false;
  }

  /** A `state` event. Answers the id of an item to fetch, where the event alone does not tell its state. */
  changed({ notification_id: id, change, up_to: upTo, unread, unread_as_of: asOf }, now) {
    this.counted(unread, asOf);
    if (change === 'read_all') {
      this.readUpTo(upTo, now);
      return null;
    }
    const item = this.#items.get(id);
    if (!item) return change === 'unread' || change === 'unarchived' ? id : null;
    if (change === 'acknowledged') return id;
    if (change === 'read') item.state.read_at ??= now;
    if (change === 'unread') item.state.read_at = null;
    if (change === 'archived') item.state.archived_at ??= now;
    if (change === 'unarchived') item.state.archived_at = null;
    return null;
  }

  /** Everything up to a cursor was read; all of it without one. */
  readUpTo(cursor, now) {
    for (const item of this.#items.values()) {
      if (!cursor || !isAfter(item.cursor, cursor)) item.state.read_at ??= now;
    }
  }

  /** When the next item expires, in milliseconds of the epoch; null when none does. */
  nextExpiry() {
    const times = [...this.#items.values()].map((item) => Date.parse(item.notification.expires_at)).filter(Number.isFinite);
    return times.length ? Math.min(...times) : null;
  }

  /** Lets go of what has expired at `now`. Answers whether there was anything. */
  expire(now) {
    const expired = [...this.#items.values()].filter((item) => Date.parse(item.notification.expires_at) <= now);
    for (const item of expired) this.#items.delete(item.notification.id);
    return expired.length > 0;
  }

  /** The state of one item, as an action answered it. */
  marked(id, state) {
    const item = this.#items.get(id);
    if (item) item.state = state;
  }
}
