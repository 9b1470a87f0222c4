// The page's side of a device: whose it is, how its stream is, what its inbox holds, what went wrong.

import { say, sayTogether } from './announce.js';
import { ConnectionView } from './connection-view.js';
import { Device } from './device.js';
import { button, el, icon, uniqueId } from './dom.js';
import { onLanguage, t } from './i18n.js';
import { ListView } from './list-view.js';
import { PersonView } from './person-view.js';
import { explain } from './problems.js';
import { WireView } from './wire-view.js';

export class Panel {
  #device;
  #changed;
  #person;
  #connection;
  #list;
  #wire;
  #badge = el('b', { class: 'badge', 'aria-hidden': 'true', data: { testid: 'unread-badge', unread: '0' } });
  #badgeWords = el('span', { class: 'visually-hidden' });
  #heading = el('h2', { class: 'visually-hidden', id: uniqueId('inbox') });
  #notes = el('div', { class: 'notes' });
  #body = el('div', { class: 'panel-body' });
  #state = 'idle';

  /** `changed(panel)` is called when the person or the unread count changes. */
  constructor(root, side, person, changed) {
    this.#changed = changed;
    this.#person = new PersonView(side, person, () => this.#sit());
    root.setAttribute('aria-labelledby', this.#heading.id);
    root.append(
      this.#heading,
      el('header', { class: 'card-head' }, this.#person.head, el('div', { class: 'bell' }, icon('bell'), this.#badge, this.#badgeWords)),
      this.#person.form,
      this.#body,
    );
    onLanguage(() => this.#translate());
    this.#sit();
  }

  get person() {
    return this.#person.person;
  }

  get unread() {
    return this.#device.inbox.unread;
  }

  /** Someone sits down: nothing of the one before stays. */
  #sit() {
    this.#device?.dispose();
    const device = new Device(this.person.identity, {
      changed: () => this.#show(),
      arrived: (notification) => this.#arrived(notification),
      state: (state, detail) => this.#stateIs(state, detail),
      cursor: (cursor) => this.#connection.cursor(cursor),
      missed: (count) => this.#connection.missed(count),
      beat: (sequence, roundTripMs) => this.#connection.beat(sequence, roundTripMs),
      reset: (data) => this.#note('reset', () => t('reset.note', { reason: t(`reset.${data.reason}`) }), 'warn'),
      wire: (name, data, id) => this.#wire.add(name, data, id),
      problem: (problem) => this.#note('problem', () => explain(problem), 'bad'),
    });
    this.#device = device;
    this.#connection = new ConnectionView({ cut: () => device.cut(), reconnect: () => device.reconnect() });
    this.#list = new ListView(device.inbox, {
      act: (id, action) => device.act(id, action),
      readAll: () => device.readAll(),
      older: () => device.older(),
      view: (name) => device.show(name),
    });
    this.#wire = new WireView();
    this.#notes.replaceChildren();
    this.#body.replaceChildren(this.#connection.root, this.#notes, this.#list.root, this.#wire.root);
    this.#show();
    device.start();
  }

  #show() {
    this.#list.render();
    const { unread } = this;
    this.#badge.dataset.unread = String(unread);
    this.#badge.textContent = unread > 99 ? '99+' : String(unread);
    this.#badgeWords.textContent = t('badge', { count: unread });
    this.#heading.textContent = t('panel.heading', { name: this.person.name });
    this.#changed(this);
  }

  #arrived(notification) {
    this.#list.glow(notification.id);
    sayTogether(
      this,
      notification.title,
      (titles) => t(titles.length === 1 ? 'said.one' : 'said.many', { name: this.person.name, n: titles.length, title: titles[0] }),
      notification.priority === 'urgent' ? 'assertive' : 'polite',
    );
  }

  #stateIs(state, detail) {
    this.#connection.state(state, detail);
    if (state !== 'live' && state !== 'catching_up') this.#connection.missed(null);
    if (state === 'live') this.#forget('problem');
    if (state !== this.#state && this.#state !== 'idle') say(`${this.person.name}: ${this.#connection.spoken}`);
    this.#state = state;
  }

  /** A line above the list, one of each kind; it stays until it is dismissed or replaced. */
  #note(kind, text, tone) {
    this.#forget(kind);
    const words = el('p', {}, text());
    const dismiss = button({ iconName: 'close', class: 'dismiss', label: t('dismiss'), quiet: true }, () => this.#forget(kind));
    const note = el('div', { class: `note ${tone}`, data: { testid: `note-${kind}`, kind } }, icon('alert'), words, dismiss);
    note.translate = () => {
      words.textContent = text();
      dismiss.querySelector('span').textContent = t('dismiss');
    };
    this.#notes.append(note);
    say(text());
  }

  #forget(kind) {
    this.#notes.querySelector(`[data-kind="${kind}"]`)?.remove();
  }

  #translate() {
    this.#person.translate();
    this.#connection.translate();
    this.#wire.translate();
    for (const note of this.#notes.children) note.translate();
    this.#show();
  }
}
