// Looks at a page as people do who cannot take everything for granted: keyboard, fingers, weak eyes.

const STOPS = 120;
/** WCAG 2.2, 2.5.8: the smallest target that a finger hits. */
const FINGER_PX = 24;

/** Presses Tab until the element with this test id has the focus; every stop on the way must show that it has it. */
export async function reachable(page, testId) {
  for (let stop = 0; stop < STOPS; stop += 1) {
    await page.keyboard.press('Tab');
    const here = await page.evaluate(focused);
    if (here.lost) continue;
    if (!here.visible) throw new Error(`the focus is not to be seen on ${here.name}`);
    if (!here.named) throw new Error(`a control without a name: ${here.name}`);
    if (here.testId === testId) return;
  }
  throw new Error(`Tab never came to ${testId}`);
}

function focused() {
  const node = document.activeElement;
  if (node === document.body) return { lost: true };
  // A card's radio button is invisible; its card shows the focus.
  const shower = node.matches('.cards input') ? node.closest('label') : node;
  const { outlineStyle, outlineWidth } = getComputedStyle(shower);
  const words = node.ariaLabel || node.textContent.trim() || [...(node.labels ?? [])].map((label) => label.textContent.trim()).join('');
  return {
    testId: node.dataset.testid,
    name: node.outerHTML.slice(0, 120),
    visible: outlineStyle !== 'none' && parseFloat(outlineWidth) > 0,
    named: words !== '',
  };
}

/** Visible buttons, links and fields that are smaller than a finger wants them; links within text are exempt. */
export function smallTargets(page) {
  return page.evaluate((least) => {
    const targets = [...document.querySelectorAll('button, select, input, textarea, summary, a')].filter((node) => node.checkVisibility() && !node.closest('.item-body') && !node.matches('.skip'));
    return targets
      .map((node) => ({ node: node.matches('[type="checkbox"]') ? node.closest('label') : node }))
      .map(({ node }) => ({ name: node.outerHTML.slice(0, 90), ...node.getBoundingClientRect().toJSON() }))
      .filter(({ width, height }) => width < least || height < least)
      .map(({ name, width, height }) => `${name} ${width}×${height}`);
  }, FINGER_PX);
}

/** The contrast of every visible piece of text with what is behind it, by WCAG's formula; disabled controls are exempt. */
export function contrast(page) {
  return page.evaluate(() => {
    const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
    const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const opaque = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const [r, g, b, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
        if (alpha === 1) return [r, g, b];
      }
      return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = new Map();
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest('.visually-hidden, [aria-disabled="true"], script, option, .skip')) continue;
      const [light, dark] = [luminance(channels(getComputedStyle(node).color)), luminance(opaque(node))].sort((a, b) => b - a);
      const ratio = Math.round(((light + 0.05) / (dark + 0.05)) * 100) / 100;
      found.set(`${node.className || node.tagName} ${ratio}`, { text: walker.currentNode.data.trim().slice(0, 30), where: node.className || node.tagName, ratio });
    }
    return [...found.values()];
  });
}

/** How bright the paper and the ink are, from 0 to 1. */
export function seen(page) {
  return page.evaluate(() => {
    const bright = (colour) => {
      const [r, g, b] = colour.match(/[\d.]+/g).map(Number);
      return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
    };
    const { backgroundColor, color } = getComputedStyle(document.body);
    return { body: bright(backgroundColor), text: bright(color) };
  });
}
