// Says things to people who do not see the page change. Both regions live outside the panels, which a phone hides.

const regions = { polite: document.getElementById('polite'), assertive: document.getElementById('assertive') };
/** Arrivals this close together are told in one breath. */
const BREATH_MS = 250;

const waiting = new Map();

/** Speaks `text`. */
export function say(text, how = 'polite') {
  regions[how].textContent = text;
}

/** Speaks of an arrival; several of the same `key` within a moment become one sentence made by `sentence(all)`. */
export function sayTogether(key, arrival, sentence, how = 'polite') {
  const group = waiting.get(key) ?? { arrivals: [], how: 'polite' };
  group.arrivals.push(arrival);
  if (how === 'assertive') group.how = how;
  clearTimeout(group.timer);
  group.timer = setTimeout(() => {
    waiting.delete(key);
    say(sentence(group.arrivals), group.how);
  }, BREATH_MS);
  waiting.set(key, group);
}
