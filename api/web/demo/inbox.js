// What a person has: items and an unread count that stays exact while events arrive. No page, no network timing.

import { isAfter, newestFirst } from './cursor.js';

/** Changes kept to be laid over answers that were on their way when the changes came. */
const RECENT = 500;

const isUnread = (item) => !item.state.read_at && !item.state.archived_at;

/** What each view shows. The server is asked for `state`; `null` is its default. */
export const VIEWS = {
  all: { state: null, shows: (item) => !item.state.archived_at },
  unread: { state: 'unread', shows: isUnread },
  archived: { state: 'archived', shows: (item) => Boolean(item.state.archived_at) },
};

/** What each change does to a state. Done twice, it does no more than once. */
const CHANGES = {
  read: (state, now) => ({ ...state, read_at: state.read_at ?? now }),
  unread: (state) => ({ ...state, read_at: null }),
  archived: (state, now) => ({ ...state, archived_at: state.archived_at ?? now }),
  unarchived: (state) => ({ ...state, archived_at: null }),
  acknowledged: (state, now) => ({ ...state, read_at: state.read_at ?? now, acknowledged_at: state.acknowledged_at ?? now }),
};

export class Inbox {
  #items = new Map();
  /** Unread as the server counted it, and the cursor at which that was true. */
  #counted = { unread: 0, asOf: null };
  /** Unread notifications that arrived after `asOf`: id and cursor. */
  #later = new Map();
  /** The latest changes, oldest first: `{ cursor, id, change(item) }`, where `change` answers null for an item that is gone. */
  #recent = [];

  /** Where older items of each view go on. */
  next = { all: null, unread: null, archived: null };

  get unread() {
    return Math.max(0, this.#counted.unread + this.#later.size);
  }

  has(id) {
    return this.#items.has(id);
  }

  /** The items of a view, newest first. */
  list(view) {
    return [...this.#items.values()].filter(VIEWS[view].shows).sort((a, b) => newestFirst(a.cursor, b.cursor));
  }

  // What the server answers. `asOf` is a cursor at which the answer was not older: later changes are laid over it.

  /** The first page of a view, in place of all there was up to it. */
  replace(view, page) {
    const since = ({ cursor }) => isAfter(cursor, page.cursor);
    const changed = new Set(this.#recent.filter(since).map(({ id }) => id));
    for (const [id, item] of this.#items) if (!since(item) && !changed.has(id)) this.#items.delete(id);
    this.next = { all: null, unread: null, archived: null };
    this.add(view, page);
  }

  /** A page of a view. */
  add(view, { items, next, cursor }) {
    for (const item of items) this.put(item, cursor);
    this.next[view] = next ?? null;
  }

  /** One item. */
  put(item, asOf) {
    const now = this.#recent.filter(({ cursor }) => isAfter(cursor, asOf)).reduce((known, { change }) => known && change(known), item);
    if (now) this.#items.set(now.notification.id, now);
  }

  /** The state of an item, as an action answered it. */
  marked(id, state, asOf) {
    const item = this.#items.get(id);
    if (item) this.put({ ...item, state }, asOf);
  }

  /** The count; it replaces ours unless it is older than what we know. */
  counted(unread, asOf) {
    if (this.#counted.asOf && isAfter(this.#counted.asOf, asOf)) return;
    this.#counted = { unread, asOf };
    for (const [id, cursor] of this.#later) if (!isAfter(cursor, asOf)) this.#later.delete(id);
  }

  // What the stream tells

  /** A `notification` event. Answers whether it was news. */
  arrived({ cursor, channel, notification }) {
    // A page may have brought it already, while the count is from before.
    if (!this.#counted.asOf || isAfter(cursor, this.#counted.asOf)) this.#later.set(notification.id, cursor);
    if (this.#items.has(notification.id)) return false;
    this.#items.set(notification.id, { cursor, channel, notification, state: { read_at: null, archived_at: null, acknowledged_at: null } });
    return true;
  }

  /** A `state` event. Answers the id of an item to fetch, where one came back into sight that is not here. */
  changed({ cursor, notification_id: id, change, up_to: upTo, unread, unread_as_of: asOf }, now) {
    this.counted(unread, asOf);
    const apply = CHANGES[change === 'read_all' ? 'read' : change];
    if (!apply) return null;
    const concerns = (item) => (change === 'read_all' ? !upTo || !isAfter(item.cursor, upTo) : item.notification.id === id);
    this.#change(cursor, id, (item) => (concerns(item) ? { ...item, state: apply(item.state, now) } : item));
    return (change === 'unread' || change === 'unarchived') && !this.#items.has(id) ? id : null;
  }

  /** A `retracted` event. Answers whether the count has to be asked for. */
  retracted({ cursor, notification_id: id }) {
    const item = this.#items.get(id);
    this.#change(cursor, id, (known) => (known.notification.id === id ? null : known));
    if (this.#counted.asOf && !isAfter(cursor, this.#counted.asOf)) return false;
    const later = this.#later.delete(id);
    if (!item && !later) return true;
    // Exact at this event: a count that was taken before it must not undo it.
    this.#counted = { unread: this.unread - (!later && isUnread(item) ? 1 : 0), asOf: cursor };
    this.#later.clear();
    return false;
  }

  // Time

  /** When the next item expires, in milliseconds of the epoch; null when none does. */
  nextExpiry() {
    const times = [...this.#items.values()].map((item) => Date.parse(item.notification.expires_at)).filter(Number.isFinite);
    return times.length ? Math.min(...times) : null;
  }

  /** Lets go of what has expired at `now`. Answers whether there was anything. */
  expire(now) {
    const expired = [...this.#items.values()].filter((item) => Date.parse(item.notification.expires_at) <= now);
    for (const { notification } of expired) {
      this.#items.delete(notification.id);
      this.#later.delete(notification.id);
    }
    return expired.length > 0;
  }

  #change(cursor, id, change) {
    this.#recent.push({ cursor, id, change });
    if (this.#recent.length > RECENT) this.#recent.shift();
    for (const [key, item] of this.#items) {
      const now = change(item);
      if (now) this.#items.set(key, now);
      else this.#items.delete(key);
    }
  }
}
