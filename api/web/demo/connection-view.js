// The connection as a person sees it: state, what a resume brought, last cursor, heartbeat, cut and reconnect.

import { button, el, icon } from './dom.js';
import { has, t } from './i18n.js';

const MAY_CUT = new Set(['connecting', 'catching_up', 'live', 'reconnecting']);

export class ConnectionView {
  #pill = el('span', { class: 'pill', data: { testid: 'connection-state', state: 'idle' } });
  #resume = el('p', { class: 'resume', hidden: true, data: { testid: 'missed', count: '0' } });
  #cursor = el('code', { data: { testid: 'last-cursor' } }, '–');
  #cursorLabel = el('dt');
  #beat = el('span', { data: { testid: 'heartbeat', sequence: '' } }, '–');
  #beatLabel = el('dt');
  #cut;
  #reconnect;
  #shown = { state: 'idle', detail: null, missed: null, beat: null };

  constructor({ cut, reconnect }) {
    const guarded = (node, action) => () => node().getAttribute('aria-disabled') !== 'true' && action();
    this.#cut = button({ iconName: 'cut', class: 'small', 'data-testid': 'cut' }, guarded(() => this.#cut, cut));
    this.#reconnect = button({ iconName: 'plug', class: 'small', 'data-testid': 'reconnect' }, guarded(() => this.#reconnect, reconnect));
    this.root = el(
      'div',
      { class: 'connection' },
      el('div', { class: 'connection-row' }, this.#pill, el('div', { class: 'pair' }, this.#cut, this.#reconnect)),
      this.#resume,
      el(
        'dl',
        { class: 'vitals' },
        el('div', {}, this.#cursorLabel, el('dd', {}, this.#cursor)),
        el('div', {}, this.#beatLabel, el('dd', {}, this.#beat)),
      ),
    );
    this.translate();
  }

  state(state, detail = null) {
    Object.assign(this.#shown, { state, detail });
    this.#showState();
  }

  cursor(cursor) {
    this.#cursor.textContent = cursor ?? '–';
  }

  /** A heartbeat came; `roundTripMs` is how long our reply took, once it is known, or `null` if it failed. */
  beat(sequence, roundTripMs) {
    this.#shown.beat = { sequence, roundTripMs };
    this.#showBeat();
  }

  /** How many missed notifications a resume has brought so far; `null` hides the line. */
  missed(count) {
    this.#shown.missed = count;
    this.#showMissed();
  }

  /** The words a screen reader hears when the state changes. */
  get spoken() {
    return this.#pill.textContent;
  }

  translate() {
    this.#cut.querySelector('.label').textContent = t('connection.cut');
    this.#reconnect.querySelector('.label').textContent = t('connection.reconnect');
    this.#cursorLabel.textContent = t('connection.cursor');
    this.#beatLabel.textContent = t('connection.heartbeat');
    this.#showState();
    this.#showMissed();
    this.#showBeat();
  }

  #showState() {
    const { state, detail } = this.#shown;
    const reason = detail && (has(`reason.${detail}`) ? t(`reason.${detail}`) : detail);
    this.#pill.dataset.state = state;
    this.#pill.dataset.reason = detail ?? '';
    this.#pill.textContent = [t(`state.${state}`), reason].filter(Boolean).join(' · ');
    this.#cut.setAttribute('aria-disabled', String(!MAY_CUT.has(state)));
    this.#reconnect.setAttribute('aria-disabled', String(state !== 'cut' && state !== 'closed' && state !== 'reconnecting'));
  }

  #showMissed() {
    const { missed } = this.#shown;
    this.#resume.hidden = missed === null;
    this.#resume.dataset.count = String(missed ?? 0);
    this.#resume.replaceChildren(icon('checks'), el('span', {}, missed ? t('resume.missed', { count: missed }) : t('resume.nothing')));
  }

  #showBeat() {
    const { beat } = this.#shown;
    this.#beat.dataset.sequence = beat ? String(beat.sequence) : '';
    if (!beat) return;
    const reply = beat.roundTripMs === undefined ? '…' : beat.roundTripMs === null ? t('heartbeat.failed') : `${beat.roundTripMs} ms`;
    this.#beat.textContent = `#${beat.sequence} · ${reply}`;
  }
}
