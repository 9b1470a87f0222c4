// One notification in an inbox.

import { button, el, icon } from './dom.js';
import { t } from './i18n.js';
import { channelLabel } from './people.js';
import { richText, safeHref } from './richtext.js';
import { exact, relative } from './time.js';

export class ItemView {
  #item;
  #time = el('time');
  #read;
  #archive;
  #ack;
  #acked = el('span', { class: 'acked', data: { testid: 'item-acked' } }, icon('check'), el('span'));

  /** `act(id, action)` carries out read, unread, archive, unarchive or ack. */
  constructor(item, act) {
    const { notification } = item;
    this.#item = item;
    const perform = (action) => () => act(notification.id, action());
    this.#read = button({ class: 'act', 'data-testid': 'item-read' }, perform(() => (this.#item.state.read_at ? 'unread' : 'read')));
    this.#archive = button({ class: 'act', 'data-testid': 'item-archive' }, perform(() => (this.#item.state.archived_at ? 'unarchive' : 'archive')));
    this.#ack = button({ iconName: 'check', class: 'act strong', 'data-testid': 'item-ack' }, perform(() => 'ack'));
    this.root = el('li', { class: 'item', tabindex: '-1', data: { testid: 'item', id: notification.id, cursor: item.cursor, priority: notification.priority } });
    this.update(item);
  }

  /** Shows a changed state; buttons stay the same elements, so the keyboard's focus stays where it is. */
  update(item) {
    this.#item = item;
    const { state, notification } = item;
    const unread = !state.read_at && !state.archived_at;
    this.root.dataset.unread = String(unread);
    this.root.dataset.archived = String(Boolean(state.archived_at));
    if (!this.root.hasChildNodes() || this.lang !== t('lang')) this.#build(notification);
    this.root.querySelector('.unread-word').textContent = unread ? t('item.is_unread') : '';
    label(this.#read, t(state.read_at ? 'item.unread' : 'item.read'));
    label(this.#archive, t(state.archived_at ? 'item.unarchive' : 'item.archive'));
    label(this.#ack, t('item.ack'));
    this.#read.hidden = Boolean(state.archived_at);
    this.#ack.hidden = !notification.requires_ack || Boolean(state.acknowledged_at);
    this.#acked.hidden = !state.acknowledged_at;
    this.#acked.lastChild.textContent = t('item.acked');
  }

  /** Times grow old while one looks. */
  tick() {
    this.#time.textContent = relative(this.#item.notification.published_at);
  }

  #build(notification) {
    this.lang = t('lang');
    const { priority } = notification;
    const channel = channelLabel(this.#item.channel);
    const urgent = priority === 'high' || priority === 'urgent';
    this.#time.dateTime = notification.published_at;
    this.#time.title = exact(notification.published_at);
    this.tick();
    const body = el('div', { class: 'item-body', data: { testid: 'item-body' } });
    body.append(richText(notification.body));
    this.root.replaceChildren(
      el(
        'div',
        { class: 'item-meta' },
        el('span', { class: 'unread-word visually-hidden' }),
        urgent ? el('span', { class: 'priority' }, priority === 'urgent' ? icon('alert') : null, t(`priority.${priority}`)) : null,
        el('span', { class: 'channel', title: this.#item.channel }, icon(channel.icon), channel.text),
        this.#time,
      ),
      el('h3', { class: 'item-title', data: { testid: 'item-title' } }, notification.title),
      body,
      ...this.#extras(notification),
      el('div', { class: 'item-actions' }, this.#ack, this.#acked, this.#read, this.#archive),
    );
  }

  #extras({ type, link, data, expires_at: expiresAt }) {
    const href = link && safeHref(link);
    const attached = JSON.stringify(data ?? {}) !== '{}';
    return [
      href ? el('a', { class: 'item-link', href, target: '_blank', rel: 'noopener noreferrer', data: { testid: 'item-link' } }, icon('link'), t('item.open', { link })) : null,
      el(
        'p',
        { class: 'item-type' },
        el('code', {}, type),
        expiresAt ? el('span', { title: exact(expiresAt) }, t('item.expires', { when: relative(expiresAt) })) : null,
        attached ? el('code', { class: 'item-data', title: JSON.stringify(data, null, 2) }, JSON.stringify(data)) : null,
      ),
    ].filter(Boolean);
  }
}

function label(node, text) {
  node.querySelector('.label').textContent = text;
}
