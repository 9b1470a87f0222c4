// Puts the page together: two devices, one publisher, two languages.

import { current, fill, onLanguage, speak, t, tag } from './i18n.js';
import { Panel } from './panel.js';
import { PEOPLE, citizen, find } from './people.js';
import { Publisher } from './publish.js';

const SIDES = ['left', 'right'];
const DEFAULTS = { left: PEOPLE[0], right: PEOPLE[2] };

const panels = {};
const publisher = new Publisher();

function translate() {
  document.documentElement.lang = tag();
  document.title = t('page.title');
  fill(document);
  for (const choice of document.querySelectorAll('[data-lang]')) {
    choice.setAttribute('aria-pressed', String(choice.dataset.lang === current()));
  }
}

/** `?left=ana-souza&right=ana-souza` opens the page with one person on two devices; any user id will do. */
function seated(side) {
  const asked = new URLSearchParams(location.search).get(side);
  return (asked && (find(asked) ?? citizen(asked))) || remembered(side) || DEFAULTS[side];
}

function remembered(side) {
  try {
    return JSON.parse(sessionStorage.getItem(`arauto.${side}`));
  } catch {
    return null;
  }
}

function remember(side, person) {
  try {
    sessionStorage.setItem(`arauto.${side}`, JSON.stringify(person));
  } catch {
    // A browser may forbid storage; a reload then starts with the defaults.
  }
}

function changed(side, panel) {
  remember(side, panel.person);
  const tab = document.querySelector(`[data-go="${side}"]`);
  tab.querySelector('.dock-name').textContent = panel.person.name.split(' ')[0];
  const badge = tab.querySelector('.dock-badge');
  badge.hidden = panel.unread === 0;
  badge.textContent = String(panel.unread);
  const people = SIDES.map((name) => (name === side ? panel : panels[name])?.person).filter(Boolean);
  publisher.people(people);
}

function go(section) {
  if (document.body.dataset.section !== section) scrollTo(0, 0);
  document.body.dataset.section = section;
  for (const tab of document.querySelectorAll('[data-go]')) {
    if (tab.dataset.go === section) tab.setAttribute('aria-current', 'true');
    else tab.removeAttribute('aria-current');
  }
}

for (const choice of document.querySelectorAll('[data-lang]')) choice.addEventListener('click', () => speak(choice.dataset.lang));
for (const tab of document.querySelectorAll('[data-go]')) tab.addEventListener('click', () => go(tab.dataset.go));
document.querySelector('.skip').addEventListener('click', () => go('left'));
onLanguage(translate);
translate();
go('publish');
for (const side of SIDES) panels[side] = new Panel(document.getElementById(side), side, seated(side), (panel) => changed(side, panel));
