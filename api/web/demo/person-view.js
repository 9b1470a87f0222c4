// Who sits at this device: a sample person, or anyone with an id, roles, units and benefits.

import { button, el, uniqueId } from './dom.js';
import { t } from './i18n.js';
import { PEOPLE, describe, find, initials } from './people.js';

const CUSTOM = 'custom';
const list = (text) => text.split(/[\s,;]+/).filter(Boolean);

export class PersonView {
  #chosen;
  #select;
  #avatar = el('span', { class: 'avatar', 'aria-hidden': 'true' });
  #caption = el('p', { class: 'caption' });
  #label;
  #form;
  #fields = {};
  #side;

  /** `chosen(person)` is called with `{ key, name, identity }` when someone else sits down. */
  constructor(side, person, chosen) {
    this.#side = side;
    this.#chosen = chosen;
    const id = uniqueId('person');
    this.#label = el('label', { for: id, class: 'visually-hidden' });
    this.#select = el('select', { id, class: 'person', data: { testid: 'person-select' }, on: { change: () => this.#picked() } });
    this.#form = this.#customForm();
    this.head = el('div', { class: 'who' }, this.#avatar, el('div', { class: 'who-text' }, this.#label, this.#select, this.#caption));
    this.form = this.#form;
    this.show(person);
  }

  show(person) {
    this.person = person;
    this.translate();
  }

  translate() {
    const { person } = this;
    const custom = !find(person.key);
    this.#label.textContent = t(`panel.${this.#side}`);
    this.#select.replaceChildren(
      ...PEOPLE.map(({ key, name }) => el('option', { value: key }, name)),
      el('option', { value: CUSTOM }, custom ? person.name : t('person.other')),
    );
    this.#select.value = custom ? CUSTOM : person.key;
    this.#caption.textContent = describe(person.identity);
    this.#avatar.textContent = initials(person.name);
    this.#avatar.dataset.hue = String([...person.identity.sub].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 6);
    for (const [name, { label }] of Object.entries(this.#fields)) label.textContent = t(`person.${name}`);
    this.#form.querySelector('.label').textContent = t('person.use');
  }

  #picked() {
    if (this.#select.value !== CUSTOM) {
      this.#form.hidden = true;
      this.show(find(this.#select.value));
      this.#chosen(this.person);
      return;
    }
    const { identity } = this.person;
    this.#fields.sub.input.value = identity.sub;
    for (const name of ['roles', 'units', 'benefits']) this.#fields[name].input.value = identity[name].join(', ');
    this.#form.hidden = false;
    this.#fields.sub.input.focus();
  }

  #customForm() {
    const fields = ['sub', 'roles', 'units', 'benefits'].map((name) => {
      const id = uniqueId(name);
      const label = el('label', { for: id });
      const input = el('input', { id, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', data: { testid: `person-${name}` } });
      this.#fields[name] = { label, input };
      return el('div', { class: 'field' }, label, input);
    });
    const submit = button({ type: 'submit', class: 'small', 'data-testid': 'person-use' });
    return el('form', { class: 'custom', hidden: true, novalidate: true, on: { submit: (event) => this.#used(event) } }, fields, submit);
  }

  #used(event) {
    event.preventDefault();
    const sub = this.#fields.sub.input.value.trim();
    const [roles, units, benefits] = ['roles', 'units', 'benefits'].map((name) => list(this.#fields[name].input.value));
    this.#form.hidden = true;
    this.show({ key: sub, name: sub || '?', identity: { sub, roles, units, benefits } });
    this.#chosen(this.person);
    this.#select.focus();
  }
}
