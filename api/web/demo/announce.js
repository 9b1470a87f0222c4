// Says things to people who do not see the page change. Both regions live outside the panels, which a phone hides.

import { el } from './dom.js';

const regions = { polite: document.getElementById('polite'), assertive: document.getElementById('assertive') };
/** Arrivals this close together are told in one breath. */
const BREATH_MS = 250;

/** Sentences that stay, so that none is replaced before it was read out. */
const KEPT = 4;

const waiting = new Map();

/** Speaks `text`, after what is still being said. */
export function say(text, how = 'polite') {
  const region = regions[how];
  region.append(el('p', {}, text));
  while (region.childElementCount > KEPT) region.firstElementChild.remove();
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
