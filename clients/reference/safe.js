// What a client has of the log: the safe rule, without any network.
//
// Ably keeps the order of one channel, not across channels, so the greatest cursor that was seen says nothing about
// those below it. A client keeps a *safe* cursor, up to which it has everything, and the set of cursors it saw above.
// docs/ably/following.md explains the rule; domain/src/safe.rs is the same in Rust, with the tests.

/** More than three minutes at 50 messages a second, the most that Ably sends over one connection. */
const ABOVE_MAX = 10_000;

/** Compares two cursors, `epoch-position`: the later epoch first, then the position. Both have no leading zeros. */
export function compare(a, b) {
  const [epochA, positionA] = a.split('-');
  const [epochB, positionB] = b.split('-');
  return compareDigits(epochA, epochB) || compareDigits(positionA, positionB);
}

const compareDigits = (a, b) => a.length - b.length || (a < b ? -1 : Number(a > b));

const epochOf = (cursor) => cursor.split('-')[0];

export class Safe {
  #above = new Set();
  /** How often continuity was lost, and up to which of those a replay has closed the gap. */
  #joins = 1;
  #closed = 0;

  /** `cursor` is that of an inbox page or of a stream: everything up to it is there. A replay is due first. */
  constructor(cursor) {
    this.cursor = cursor;
  }

  /** Channels were attached without continuity. Called before any message of the new attachment is taken. */
  joined() {
    this.#joins += 1;
  }

  /** Whether a gap is open that only a replay closes. */
  get gap() {
    return this.#closed < this.#joins;
  }

  /** Takes a message; true where it is to be shown. */
  received(cursor) {
    if (compare(cursor, this.cursor) <= 0 || this.#above.has(cursor)) return false;
    if (this.#above.size >= ABOVE_MAX) {
      this.joined();
      return false;
    }
    this.#above.add(cursor);
    return true;
  }

  /** Takes the answer of `GET /v1/transport?after=…`; true where nothing is missing, else a replay is due. */
  answered(after, { cursor, channels, replay }) {
    const foreign = compare(after, this.cursor) > 0 || epochOf(cursor) !== epochOf(this.cursor);
    const holds = (last) => compare(last, this.cursor) <= 0 || this.#above.has(last);
    if (this.gap || foreign || replay || !Object.values(channels).every(holds)) return false;
    this.#moveTo(cursor);
    return true;
  }

  /** The replay to call for now. Its pages are taken with it: it cannot close a gap that opens later. */
  replay() {
    return { after: this.cursor, joins: this.#joins };
  }

  /** Takes cursors that came without a gap from `replay.after` up to `cursor`; returns those to be shown. */
  replayed(replay, cursors, cursor, reachedHead) {
    if (compare(replay.after, this.cursor) > 0) return [];
    const fresh = cursors.filter((each) => compare(each, this.cursor) > 0 && !this.#above.has(each));
    this.#moveTo(cursor);
    if (reachedHead) this.#closed = Math.max(this.#closed, replay.joins);
    return fresh;
  }

  /** History cannot be given: the inbox is loaded again, and everything goes on from `to`. */
  reset(replay, to) {
    this.cursor = to;
    this.#forget();
    this.#closed = Math.max(this.#closed, replay.joins);
  }

  #moveTo(cursor) {
    if (compare(cursor, this.cursor) > 0) this.cursor = cursor;
    this.#forget();
  }

  #forget() {
    for (const seen of this.#above) if (compare(seen, this.cursor) <= 0) this.#above.delete(seen);
  }
}
