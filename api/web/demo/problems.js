// Says what went wrong in plain words, and which field of a form it is about.

import { has, t } from './i18n.js';

/** One sentence for a person, with the server's own detail after it where it adds something. */
export function explain(problem) {
  const named = (problem.type ?? '').split(/[/:#]/).at(-1);
  const keys = [`problem.${named}`, `problem.${problem.status}`, problem.status >= 500 ? 'problem.5xx' : 'problem.other'];
  const sentence = t(keys.find(has));
  const detail = problem.detail || problem.title;
  return detail && problem.status > 0 ? `${sentence} ${detail}` : sentence;
}

/** The problem's `errors[]` as `{ field, message }`, whatever way a field is pointed at. */
export function fieldErrors(problem) {
  return (problem.errors ?? []).map((error) => {
    const pointer = String(error.field ?? error.pointer ?? error.path ?? error.name ?? '');
    const field = pointer.replace(/^[#/]+/, '').split(/[./[\]]/)[0];
    const message = error.detail ?? error.message ?? error.title ?? '';
    return { field, message: has(`invalid.${field}`) ? t(`invalid.${field}`, { message }) : message };
  });
}
