// A cursor is `epoch-position`. Only counting what came later needs to look inside; everything else passes it on.

const SHAPE = /^([a-z0-9]+)-(0|[1-9][0-9]*)$/;

/** The parts of a cursor, or null when it is not one. */
export function parse(cursor) {
  const match = SHAPE.exec(cursor ?? '');
  return match && { epoch: match[1], position: BigInt(match[2]) };
}

/** Whether `a` comes after `b` in the same history; cursors of two histories cannot be compared. */
export function isAfter(a, b) {
  const [left, right] = [parse(a), parse(b)];
  return Boolean(left && right && left.epoch === right.epoch && left.position > right.position);
}

/** Orders cursors newest first. Where the store lives on, numbering does too, also into a new history. */
export function newestFirst(a, b) {
  const [left, right] = [parse(a), parse(b)];
  if (!left || !right || left.position === right.position) return 0;
  return left.position > right.position ? -1 : 1;
}
