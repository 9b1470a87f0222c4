// Publishing in someone's name, the receipts, and taking a notification back.

import { say } from './announce.js';
import { Problem } from './api.js';
import { DraftForm } from './draft-form.js';
import { button, el, icon } from './dom.js';
import { onLanguage, t } from './i18n.js';
import { PUBLISHERS, describe } from './people.js';
import { explain, fieldErrors } from './problems.js';
import { Session } from './session.js';
import { clock } from './time.js';

/** Receipts kept on the page. */
const KEPT = 8;

export class Publisher {
  #form = new DraftForm();
  #as = document.getElementById('publish-as');
  #error = document.getElementById('publish-error');
  #sent = [];
  /** The draft that was sent and has no receipt yet, with its key. */
  #unsettled = null;
  #sessions = new Map();

  constructor() {
    document.getElementById('publish-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#publish();
    });
    onLanguage(() => this.#translate());
    this.#translate();
  }

  /** Who sits at the devices. */
  people(people) {
    this.#form.people(people);
  }

  #session() {
    const { identity, key } = PUBLISHERS.find((publisher) => publisher.key === this.#as.value);
    if (!this.#sessions.has(key)) this.#sessions.set(key, new Session(identity));
    return this.#sessions.get(key);
  }

  async #publish() {
    this.#form.clear();
    this.#error.hidden = true;
    const session = this.#session();
    const chosenKey = this.#form.key;
    try {
      const draft = this.#form.read();
      const { body: receipt, headers } = await session.publish(draft, chosenKey || this.#keyFor(draft));
      this.#unsettled = null;
      this.#sent.unshift({ receipt, session, chosenKey, title: draft.title, replayed: headers.get('idempotent-replayed') === 'true', gone: false });
      this.#sent.length = Math.min(this.#sent.length, KEPT);
      this.#showSent();
      document.querySelector('[data-testid="receipt"]').scrollIntoView({ block: 'nearest' });
      say(t(`receipt.${receipt.status}`));
    } catch (problem) {
      this.#refused(problem);
    }
  }

  /** The same notification after a failure that may have been none goes out under the same key: never twice. */
  #keyFor(draft) {
    const text = JSON.stringify(draft);
    if (this.#unsettled?.text !== text) this.#unsettled = { text, key: crypto.randomUUID() };
    return this.#unsettled.key;
  }

  #refused(problem) {
    if (problem instanceof SyntaxError) {
      this.#form.mark([{ field: 'data', message: t('problem.data') }]);
      return;
    }
    if (!(problem instanceof Problem)) throw problem;
    const errors = fieldErrors(problem);
    const rest = this.#form.mark(errors);
    if (errors.length > 0 && rest.length === 0) return say(errors[0].message, 'assertive');
    const list = rest.length ? el('ul', {}, rest.map(({ field, message }) => el('li', {}, [field, message].filter(Boolean).join(': ')))) : null;
    this.#error.replaceChildren(icon('alert'), el('div', {}, el('p', {}, explain(problem)), list ?? ''));
    this.#error.hidden = false;
  }

  async #retract(entry) {
    try {
      await entry.session.retract(entry.receipt.id);
      entry.gone = true;
      this.#showSent();
      say(t('sent.retracted'));
    } catch (problem) {
      this.#refused(problem);
    }
  }

  #showSent() {
    document.getElementById('sent').hidden = this.#sent.length === 0;
    document.getElementById('sent-list').replaceChildren(...this.#sent.map((entry, index) => this.#line(entry, index === 0)));
  }

  #line(entry, newest) {
    const { receipt, chosenKey, title, replayed, gone } = entry;
    const facts = [
      ['id', receipt.id],
      ['cursor', receipt.cursor ?? '–'],
      ['events', receipt.events],
      ['durability', receipt.durability],
      ['accepted', clock(new Date(receipt.accepted_at))],
    ];
    if (chosenKey) facts.push(['key', chosenKey]);
    const status = gone ? 'retracted' : replayed ? 'replayed' : receipt.status;
    return el(
      'li',
      { class: 'receipt', data: { testid: newest ? 'receipt' : 'sent-item', id: receipt.id, cursor: receipt.cursor ?? '', status } },
      el('div', { class: 'receipt-head' }, el('span', { class: 'receipt-status', data: { status } }, icon(gone ? 'retract' : 'check'), t(`receipt.${status}`)), el('span', { class: 'receipt-title' }, title), gone ? null : button({ iconName: 'retract', class: 'act', label: t('sent.retract'), 'data-testid': 'sent-retract' }, () => this.#retract(entry))),
      newest ? el('dl', { class: 'facts' }, facts.map(([name, value]) => el('div', {}, el('dt', {}, t(`receipt.field.${name}`)), el('dd', { data: { testid: `receipt-${name}` } }, String(value))))) : null,
    );
  }

  #translate() {
    const chosen = this.#as.value || PUBLISHERS[0].key;
    this.#as.replaceChildren(...PUBLISHERS.map(({ key, name, identity }) => el('option', { value: key }, `${name ?? t('publisher.service')} · ${describe(identity)}`)));
    this.#as.value = chosen;
    this.#form.translate();
    this.#showSent();
  }
}
