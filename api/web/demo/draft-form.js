// The publish form's fields: filled from an example, read as a draft, marked where the server objects.

import { button, el } from './dom.js';
import { t } from './i18n.js';
import { BENEFITS, UNITS, benefitName } from './people.js';
import { EXAMPLE_NAMES, TYPES, example } from './examples.js';

const ids = (text) => text.split(/[\s,;]+/).filter(Boolean);
const iso = (local) => new Date(local).toISOString();

export class DraftForm {
  #form = document.getElementById('publish-form');
  #people = [];
  /** The example in the form, until someone edits it: it then follows the language. */
  #untouched = null;

  constructor() {
    document.getElementById('types').append(...TYPES.map((value) => el('option', { value })));
    this.#form.addEventListener('change', (event) => event.target.name === 'audience' && this.#showAudience());
    this.#form.addEventListener('input', (event) => {
      if (event.target.name !== 'audience') this.#untouched = null;
      this.#unmark(event.target);
    });
    this.fill(EXAMPLE_NAMES[0]);
  }

  get fields() {
    return this.#form.elements;
  }

  /** The people at the two devices: they are the nearest to publish to. */
  people(people) {
    const [before, now] = [this.#people, people].map((some) => some.map(({ identity }) => identity.sub));
    if (before.join() === now.join()) return;
    this.#people = people;
    const { users } = this.fields;
    if (users.value === '' || users.value === before[0]) users.value = people[0].identity.sub;
    this.#chips();
  }

  fill(name) {
    const shape = example(name);
    const { fields } = this;
    fields.audience.value = shape.audience;
    for (const key of ['unit', 'benefit']) if (shape[key]) fields[key].value = shape[key];
    for (const key of ['title', 'body', 'type', 'priority']) fields[key].value = shape[key];
    fields.link.value = shape.link ?? '';
    fields.data.value = shape.data ? JSON.stringify(shape.data) : '';
    fields.requires_ack.checked = Boolean(shape.requiresAck);
    fields.expires_at.value = shape.expiresAt ? local(shape.expiresAt) : '';
    fields.deliver_at.value = '';
    this.#untouched = name;
    this.clear();
    this.#showAudience();
  }

  translate() {
    const name = this.#untouched;
    if (name) this.fill(name);
    document.getElementById('examples').replaceChildren(
      ...EXAMPLE_NAMES.map((key) => button({ class: 'chip', label: t(`example.${key}`), 'data-testid': `example-${key}` }, () => this.fill(key))),
    );
    this.#chips();
  }

  /** The draft as the API takes it; what is left empty is left out. Throws on JSON that is none. */
  read() {
    const { fields } = this;
    const draft = { audience: this.#audience(), type: fields.type.value.trim(), priority: fields.priority.value, title: fields.title.value, body: fields.body.value };
    if (fields.link.value.trim()) draft.link = fields.link.value.trim();
    if (fields.requires_ack.checked) draft.requires_ack = true;
    if (fields.deliver_at.value) draft.deliver_at = iso(fields.deliver_at.value);
    if (fields.expires_at.value) draft.expires_at = iso(fields.expires_at.value);
    if (fields.data.value.trim()) draft.data = JSON.parse(fields.data.value);
    return draft;
  }

  get key() {
    return this.fields.key.value.trim();
  }

  clear() {
    for (const field of this.#form.querySelectorAll('[aria-invalid]')) this.#unmark(field);
  }

  /** Marks the fields named by `errors` and goes to the first. Answers the errors that belong to no field. */
  mark(errors) {
    const marked = errors.filter(({ field, message }) => this.#markOne(field, message));
    this.#form.querySelector('[aria-invalid]')?.focus();
    return errors.filter((error) => !marked.includes(error));
  }

  #markOne(field, message) {
    const input = [...this.#form.querySelectorAll(`[data-field="${CSS.escape(field)}"]`)].find((node) => !node.closest('[hidden]'));
    if (!input) return false;
    this.#unmark(input);
    const closed = input.closest('details');
    if (closed) closed.open = true;
    const id = `${input.id}-error`;
    input.setAttribute('aria-invalid', 'true');
    input.setAttribute('aria-errormessage', id);
    input.after(el('p', { class: 'field-error', id, data: { testid: `error-${field}` } }, message));
    return true;
  }

  #unmark(input) {
    if (!input.hasAttribute?.('aria-invalid')) return;
    input.removeAttribute('aria-invalid');
    input.removeAttribute('aria-errormessage');
    document.getElementById(`${input.id}-error`)?.remove();
  }

  #audience() {
    const { fields } = this;
    switch (fields.audience.value) {
      case 'users':
        return { users: ids(fields.users.value) };
      case 'unit':
        return { unit: fields.unit.value.trim() };
      case 'benefit':
        return { benefit: fields.benefit.value.trim() };
      default:
        return { everyone: true };
    }
  }

  #showAudience() {
    const chosen = this.fields.audience.value;
    for (const part of this.#form.querySelectorAll('[data-for]')) part.hidden = part.dataset.for !== chosen;
  }

  #chips() {
    const subs = [...new Set(this.#people.map(({ identity }) => identity.sub))];
    const people = subs.map((sub) => [this.#people.find(({ identity }) => identity.sub === sub).name, sub]);
    if (subs.length > 1) people.push([t('audience.both'), subs.join(', ')]);
    this.#suggest('users', people);
    this.#suggest('unit', Object.entries(UNITS).map(([code, name]) => [name, code]));
    this.#suggest('benefit', BENEFITS.map((code) => [benefitName(code), code]));
  }

  #suggest(name, pairs) {
    const input = this.fields[name];
    const take = (value) => () => {
      input.value = value;
      this.#unmark(input);
    };
    document.getElementById(`${name}-chips`).replaceChildren(...pairs.map(([label, value]) => button({ class: 'chip', label, title: value }, take(value))));
  }
}

/** What a `datetime-local` field shows for a moment, in the browser's own time zone. */
function local(date) {
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
