// The list of an inbox: three views of it, read-all, older pages, and what an empty one says.

import { button, el, icon } from './dom.js';
import { t } from './i18n.js';
import { VIEWS } from './inbox.js';
import { ItemView } from './item-view.js';

const TICK_MS = 20_000;

export class ListView {
  #inbox;
  #on;
  #rows = new Map();
  #list = el('ol', { class: 'items', data: { testid: 'inbox-list' } });
  #empty = el('div', { class: 'empty', data: { testid: 'empty' } });
  #tabs = {};
  #filters = el('div', { class: 'filters', role: 'group' });
  #readAll;
  #older;

  view = 'all';

  /** `on` holds `act(id, action)`, `readAll()`, `older()` and `view(name)`. */
  constructor(inbox, on) {
    this.#inbox = inbox;
    this.#on = on;
    for (const name of Object.keys(VIEWS)) {
      this.#tabs[name] = button({ class: 'filter', 'data-testid': `filter-${name}` }, () => this.#switch(name));
      this.#filters.append(this.#tabs[name]);
    }
    this.#readAll = button({ iconName: 'checks', class: 'small plain', 'data-testid': 'read-all' }, on.readAll);
    this.#older = button({ iconName: 'down', class: 'small plain older', 'data-testid': 'older' }, on.older);
    this.root = el('div', { class: 'list' }, el('div', { class: 'list-bar' }, this.#filters, this.#readAll), el('div', { class: 'scroll' }, this.#list, this.#empty, this.#older));
    setInterval(() => this.#rows.forEach((row) => row.tick()), TICK_MS);
    this.render();
  }

  /** Makes the page agree with the inbox, touching only what differs. */
  render() {
    const items = this.#inbox.list(this.view);
    const focused = this.#focusedRow();
    const kept = new Set(items.map((item) => item.notification.id));
    const heir = focused && !kept.has(focused) ? this.#neighbour(focused, kept) : null;
    for (const [id, row] of this.#rows) if (!kept.has(id)) this.#remove(id, row);
    items.forEach((item, index) => this.#place(item, index));
    if (focused && !kept.has(focused)) (heir ?? this.#tabs[this.view]).focus();
    this.#labels(items.length);
  }

  /** Forgets which rows were there, so that a reload does not look like arrivals. */
  reset() {
    for (const [id, row] of this.#rows) this.#remove(id, row);
  }

  /** Lets a row that has just arrived glow once. */
  glow(id) {
    this.#rows.get(id)?.root.classList.add('arrived');
  }

  #place(item, index) {
    const { id } = item.notification;
    let row = this.#rows.get(id);
    if (row) row.update(item);
    else {
      row = new ItemView(item, this.#on.act);
      this.#rows.set(id, row);
    }
    const there = this.#list.children[index];
    if (there !== row.root) this.#list.insertBefore(row.root, there ?? null);
  }

  #remove(id, row) {
    this.#rows.delete(id);
    row.root.remove();
  }

  #focusedRow() {
    const row = document.activeElement?.closest('.item');
    return row && this.#list.contains(row) ? row.dataset.id : null;
  }

  /** The row to go to when the focused one leaves: the next that stays, else the one before. */
  #neighbour(id, kept) {
    const rows = [...this.#list.children];
    const at = rows.findIndex((row) => row.dataset.id === id);
    return rows.slice(at + 1).find((row) => kept.has(row.dataset.id)) ?? rows.slice(0, at).findLast((row) => kept.has(row.dataset.id)) ?? null;
  }

  #switch(name) {
    this.view = name;
    this.render();
    this.#on.view(name);
  }

  #labels(shown) {
    this.#filters.setAttribute('aria-label', t('list.show'));
    for (const [name, tab] of Object.entries(this.#tabs)) {
      tab.querySelector('.label').textContent = t(`list.${name}`);
      tab.setAttribute('aria-pressed', String(name === this.view));
    }
    this.#readAll.querySelector('.label').textContent = t('list.read_all');
    this.#readAll.setAttribute('aria-disabled', String(this.#inbox.unread === 0));
    this.#older.querySelector('.label').textContent = t('list.older');
    this.#older.hidden = !this.#inbox.next[this.view];
    this.#empty.hidden = shown > 0 || !this.#older.hidden;
    this.#empty.replaceChildren(icon(this.view === 'archived' ? 'archive' : 'bell'), el('p', { class: 'empty-title' }, t(`empty.${this.view}`)), el('p', {}, t(`empty.${this.view}.hint`)));
  }
}
