// Times as people say them: "há 2 minutos", "2 minutes ago", and the full date for who wants it.

import { tag } from './i18n.js';

const STEPS = [
  [60, 'second', 1],
  [3600, 'minute', 60],
  [86_400, 'hour', 3600],
  [Infinity, 'day', 86_400],
];

/** How long ago (or ahead) an RFC 3339 time is. */
export function relative(iso, now = Date.now()) {
  const seconds = (Date.parse(iso) - now) / 1000;
  const [, unit, size] = STEPS.find(([limit]) => Math.abs(seconds) < limit);
  const value = Math.trunc(seconds / size);
  return new Intl.RelativeTimeFormat(tag(), { numeric: 'auto' }).format(unit === 'second' && value > -10 && value <= 0 ? 0 : value, unit);
}

/** The full date and time. */
export const exact = (iso) => new Intl.DateTimeFormat(tag(), { dateStyle: 'full', timeStyle: 'medium' }).format(new Date(iso));

/** Hours, minutes and seconds. */
export const clock = (date = new Date()) => new Intl.DateTimeFormat(tag(), { timeStyle: 'medium' }).format(date);
