// The events as they came over the wire, in order, repeats and all: what a developer wants to see.

import { el } from './dom.js';
import { t } from './i18n.js';
import { clock } from './time.js';

/** Older lines are dropped: this is a window, not a log. */
const LINES = 200;

export class WireView {
  #count = 0;
  #summary = el('summary');
  #lines = el('ol', { class: 'wire-lines', data: { testid: 'wire' } });

  constructor() {
    this.root = el('details', { class: 'wire' }, this.#summary, this.#lines);
    this.translate();
  }

  add(name, data, id) {
    this.#count += 1;
    const line = el(
      'li',
      { data: { testid: 'wire-event', event: name, id: id ?? '', notification: data.notification?.id ?? data.notification_id ?? '' } },
      el('time', {}, clock()),
      el('b', {}, name),
      el('code', {}, id || '–'),
      el('span', {}, summary(name, data)),
    );
    // Heartbeats in a row take one line.
    if (name === 'heartbeat' && this.#lines.firstElementChild?.dataset.event === 'heartbeat') this.#lines.firstElementChild.remove();
    this.#lines.prepend(line);
    while (this.#lines.childElementCount > LINES) this.#lines.lastElementChild.remove();
    this.translate();
  }

  translate() {
    this.#summary.textContent = t('wire.heading', { n: this.#count });
  }
}

function summary(name, data) {
  if (name === 'ready') return data.resumed ? 'resumed' : 'new';
  if (name === 'notification') return data.notification.title;
  if (name === 'state') return `${data.change} → ${data.unread}`;
  if (name === 'heartbeat') return `#${data.sequence}`;
  if (name === 'reset' || name === 'closing') return data.reason;
  if (name === 'session') return data.expires_at;
  return '';
}
