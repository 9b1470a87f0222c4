// Sample people, units and benefits of a fictional city, and how a channel is named for a reader.

import { has, t } from './i18n.js';

/** Unit names are proper names: the same in every language. */
export const UNITS = {
  'cras-norte': 'CRAS Norte',
  'cras-sul': 'CRAS Sul',
  'creas-central': 'CREAS Central',
  'centro-pop': 'Centro POP',
  semtas: 'SEMTAS',
};

export const BENEFITS = ['natalidade', 'ataude', 'cesta-basica', 'aluguel-social', 'passagem'];

const person = (name, sub, role, units = [], benefits = []) => ({
  key: sub,
  name,
  identity: { sub, roles: [role], units, benefits },
});

export const PEOPLE = [
  person('Ana Souza', 'ana-souza', 'CIDADAO'),
  person('João Batista', 'joao-batista', 'CIDADAO'),
  person('Bruno Lima', 'bruno-lima', 'TECNICO', ['cras-norte'], ['natalidade', 'cesta-basica']),
  person('Carla Mendes', 'carla-mendes', 'COORDENADOR', ['cras-norte', 'cras-sul'], ['aluguel-social']),
  person('Davi Rocha', 'davi-rocha', 'GESTOR', ['semtas'], BENEFITS),
  person('Elisa Prado', 'elisa-prado', 'ADMIN', ['semtas']),
];

/** Who can publish: back ends first, then people whose rights differ. */
export const PUBLISHERS = [
  { key: 'svc-solicitacoes', name: null, identity: { sub: 'svc-solicitacoes', roles: ['SERVICE'], units: [], benefits: [] } },
  ...PEOPLE.filter(({ identity }) => !identity.roles.includes('CIDADAO')).reverse(),
];

/** The sample person with this key, if there is one. */
export const find = (key) => PEOPLE.find((candidate) => candidate.key === key);

/** Someone without a face: a citizen with this user id. */
export const citizen = (sub) => person(sub, sub, 'CIDADAO');

/** "Técnico · CRAS Norte". */
export function describe({ roles, units }) {
  const role = roles.map((code) => (has(`role.${code}`) ? t(`role.${code}`) : code)).join(', ');
  return [role, ...units.map((unit) => UNITS[unit] ?? unit)].filter(Boolean).join(' · ');
}

/** The benefit's name, or its code where it is not one of ours. */
export const benefitName = (code) => (has(`benefit.${code}`) ? t(`benefit.${code}`) : code);

/** Up to two initials for the round picture. */
export function initials(name) {
  const words = name.split(/[\s_-]+/).filter(Boolean);
  return [words[0], words.length > 1 ? words.at(-1) : null]
    .filter(Boolean)
    .map((word) => [...word][0].toUpperCase())
    .join('');
}

/** Whom a channel speaks to: an icon and words. */
export function channelLabel(channel) {
  const [, kind, id] = /(?:^|:)private:(user|unit|benefit):([^:]+):notifications$/.exec(channel) ?? [];
  if (kind === 'user') return { icon: 'people', text: t('channel.you') };
  if (kind === 'unit') return { icon: 'unit', text: UNITS[id] ?? id };
  if (kind === 'benefit') return { icon: 'benefit', text: benefitName(id) };
  return { icon: 'everyone', text: t('channel.everyone') };
}
