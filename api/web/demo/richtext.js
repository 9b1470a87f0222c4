// Shows a body: the server has reduced it to a few tags, and this page builds only those again, from nothing.

const ALLOWED = new Set(['B', 'I', 'EM', 'STRONG', 'BR', 'P', 'UL', 'OL', 'LI', 'CODE', 'A']);
/** Left out with all that they hold; of any other unknown tag the text stays. */
const DROPPED = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'IFRAME', 'OBJECT', 'NOSCRIPT', 'SVG', 'MATH', 'TITLE', 'TEXTAREA']);
/** Nesting beyond this is not text that anyone wrote. */
const DEEPEST = 32;

/** A fragment with the safe part of `html`. Nothing in it is loaded or run while it is parsed. */
export function richText(html) {
  const fragment = document.createDocumentFragment();
  copy(new DOMParser().parseFromString(html ?? '', 'text/html').body, fragment, 0);
  return fragment;
}

/** An address worth following: a path of this site, or https. */
export function safeHref(href) {
  try {
    const { origin, protocol } = new URL(href, location.origin);
    // Asked of the parsed address: `/\t/elsewhere` looks like a path and is not one.
    const followed = href.startsWith('/') ? origin === location.origin : protocol === 'https:';
    return followed ? href : null;
  } catch {
    return null;
  }
}

function copy(from, to, depth) {
  for (const node of from.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
    if (node.nodeType !== Node.ELEMENT_NODE || DROPPED.has(node.nodeName.toUpperCase()) || depth > DEEPEST) continue;
    copy(node, ALLOWED.has(node.nodeName) ? into(to, node) : to, depth + 1);
  }
}

function into(parent, original) {
  const made = document.createElement(original.nodeName);
  if (original.nodeName === 'A') link(made, original.getAttribute('href'));
  parent.append(made);
  return made;
}

function link(anchor, href) {
  const safe = safeHref(href);
  if (!safe) return;
  anchor.href = safe;
  anchor.target = '_blank';
  anchor.rel = 'noopener noreferrer';
}
