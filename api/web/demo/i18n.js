// The interface speaks Brazilian Portuguese and English, and changes without a reload.

import { en } from './words.en.js';
import { pt } from './words.pt.js';

const WORDS = { pt, en };
const REMEMBERED = 'arauto.language';
const listeners = new Set();

let language = initial();
let plurals = new Intl.PluralRules(tag());

function initial() {
  const asked = new URLSearchParams(location.search).get('lang') ?? remembered();
  if (asked in WORDS) return asked;
  return navigator.language.toLowerCase().startsWith('pt') ? 'pt' : 'en';
}

function remembered() {
  try {
    return localStorage.getItem(REMEMBERED);
  } catch {
    return null; // A browser may forbid storage; the language is then asked of the browser each time.
  }
}

/** The language in use: `pt` or `en`. */
export const current = () => language;

/** The BCP 47 tag of the language in use. */
export function tag() {
  return language === 'pt' ? 'pt-BR' : 'en';
}

/** The text of a key. With `count`, the plural form `key.one` or `key.other` is taken. */
export function t(key, values = {}) {
  const words = WORDS[language];
  const text = (values.count === undefined ? undefined : words[`${key}.${plurals.select(values.count)}`]) ?? words[key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** Whether there is a text for a key. */
export const has = (key) => key in WORDS[language];

/** Changes the language and tells everyone who shows text. */
export function speak(next) {
  language = next;
  plurals = new Intl.PluralRules(tag());
  try {
    localStorage.setItem(REMEMBERED, next);
  } catch {
    // Not remembered, still spoken.
  }
  for (const listener of listeners) listener();
}

/** Calls `listener` after each change of language. */
export function onLanguage(listener) {
  listeners.add(listener);
}

/** Fills in `data-i18n` (text) and `data-i18n-attr` (`attribute:key;…`) under `root`. */
export function fill(root) {
  for (const node of root.querySelectorAll('[data-i18n]')) node.textContent = t(node.dataset.i18n);
  for (const node of root.querySelectorAll('[data-i18n-attr]')) {
    for (const pair of node.dataset.i18nAttr.split(';')) {
      const [attribute, key] = pair.split(':');
      node.setAttribute(attribute, t(key));
    }
  }
}
