// Waiting times that differ between clients, so that many of them never come back in the same instant.

const FIRST_MS = 400;
const LONGEST_MS = 15_000;

/** Full jitter over a window: anything from a little to all of it. */
export const jittered = (windowMs) => Math.round(windowMs * (0.1 + 0.9 * Math.random()));

/** The wait before attempt number `attempt` (0 is the first one after a failure). */
export const backoff = (attempt) => jittered(Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt));
