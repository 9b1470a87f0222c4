// Builds elements by hand: text is always text, so nothing a notification holds can become markup.

const SVG = 'http://www.w3.org/2000/svg';

/** Creates an element. `on` holds listeners, `data` the data-* attributes; `false` and `null` leave one out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  const { on = {}, data = {}, ...rest } = attributes;
  for (const [name, value] of Object.entries(rest)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? '' : value);
  }
  Object.assign(node.dataset, data);
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** One icon of the sprite in the page. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', 'icon');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon and a label; the label is what a screen reader says, shown or not. */
export function button({ iconName, label, quiet, ...attributes }, onClick) {
  return el(
    'button',
    { type: 'button', ...attributes, on: { click: onClick } },
    iconName ? icon(iconName) : null,
    el('span', { class: quiet ? 'visually-hidden' : 'label' }, label ?? ''),
  );
}

let ids = 0;

/** An id for `for`, `aria-labelledby` and friends. */
export const uniqueId = (stem) => `${stem}-${++ids}`;
