// Waiting for something to become true.

/** One event as a client handed it out; data that is no JSON is kept, to be seen and not to be thrown about. */
export function received(event, id, data) {
  try {
    return { event, id, data: JSON.parse(data) };
  } catch {
    return { event, id, data: { unparsable: data } };
  }
}

const WAIT_MS = Number(process.env.WAIT_MS ?? 30_000);
const LOOK_EVERY_MS = 20;

/** Waits until `condition` gives something truthy and answers it; `what` says what was awaited. */
export async function until(what, condition, waitMs = WAIT_MS) {
  const end = Date.now() + waitMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${waitMs} ms for ${typeof what === 'function' ? await what() : what}`);
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
  }
}
