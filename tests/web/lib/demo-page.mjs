// The demo page as a person uses it: finds things by their `data-testid`, waits for what it shows.

import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { serverUrl, setting } from './harness.mjs';
import { until } from './until.mjs';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
const PATIENCE_MS = 15_000;
/** What a browser says of a server that was cut off or restarted on purpose. */
const EXPECTED = /Failed to load resource: (net::ERR_|the server responded with a status of (4|503))/;

/** A browser with a profile of its own that nobody used before. */
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: FLAGS, timeout: 30_000 });
}

/** One browser window's worth of state; `page()` opens tabs in it, which share cookies as tabs do. */
export class Window {
  #context;
  #complaints = [];

  constructor(context) {
    this.#context = context;
  }

  static async open(browser, options = {}) {
    const context = await browser.newContext({ locale: 'pt-BR', viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce', ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    return new Window(context);
  }

  /** Opens the page with these people at its two devices, and waits until both are live. */
  async page({ left, right, base = serverUrl(), query = {}, awaited = ['left', 'right'] }) {
    const page = await this.#context.newPage();
    page.on('pageerror', (error) => this.#complaints.push(error.message));
    page.on('console', (message) => message.type() === 'error' && !EXPECTED.test(message.text()) && this.#complaints.push(message.text()));
    page.on('dialog', (dialog) => {
      this.#complaints.push(`a dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    const demo = new DemoPage(page);
    page.on('response', (response) => response.url().includes('/v1/stream?') && demo.codings.add(response.headers()['content-encoding']));
    await page.goto(`${base}/?${new URLSearchParams({ left, right, ...query })}`);
    for (const side of awaited) await demo.device(side).is('live');
    return demo;
  }

  /** A tab that is not loaded yet, for who wants to meddle with its requests. */
  async blank() {
    return this.#context.newPage();
  }

  /** Forgets complaints that a check provokes on purpose. */
  tolerate(pattern) {
    this.#complaints = this.#complaints.filter((complaint) => !pattern.test(complaint));
  }

  /** Closes the window; an error in any of its tabs, a broken content policy among them, is a failure. */
  async close() {
    await this.#context.close();
    if (this.#complaints.length > 0) throw new Error(`the page complained: ${this.#complaints.join(' | ')}`);
  }
}

export class DemoPage {
  /** How the page's streams were coded. */
  codings = new Set();

  constructor(page) {
    this.page = page;
  }

  get(testId) {
    return this.page.getByTestId(testId);
  }

  device(side) {
    return new DevicePanel(this, this.page.getByTestId(`panel-${side}`));
  }

  /** Publishes to people through the form; answers the receipt's id and cursor. */
  async publish({ users, title, ...rest }) {
    const before = await this.#newest();
    await this.get('audience-users').check();
    await this.get('users-input').fill(users.join(', '));
    await this.get('title-input').fill(title);
    if (rest.body !== undefined) await this.get('body-input').fill(rest.body);
    await this.get('publish-submit').click();
    return this.receiptAfter(before);
  }

  /** The receipt that is not the one with this id. */
  async receiptAfter(before) {
    const id = await until('a receipt', async () => {
      const newest = await this.#newest();
      return newest !== before && newest;
    });
    return { id, cursor: await this.get('receipt').getAttribute('data-cursor') };
  }

  async #newest() {
    const receipt = this.get('receipt');
    return (await receipt.count()) ? receipt.getAttribute('data-id') : null;
  }

  /** Into the directory `SHOTS`, where one is set. */
  async shot(name, options = {}) {
    if (process.env.SHOTS) await this.page.screenshot({ path: join(setting('SHOTS'), `${name}.png`), animations: 'disabled', ...options });
  }
}

/** One of the two devices on the page. */
class DevicePanel {
  constructor(demo, root) {
    this.demo = demo;
    this.root = root;
  }

  get(testId) {
    return this.root.getByTestId(testId);
  }

  item(id) {
    return this.root.locator(`[data-testid="item"][data-id="${id}"]`);
  }

  async is(state) {
    const pill = this.get('connection-state');
    await until(async () => `${state}, is ${await pill.getAttribute('data-state')}`, async () => (await pill.getAttribute('data-state')) === state, PATIENCE_MS);
  }

  async badge(unread) {
    const badge = this.get('unread-badge');
    const shown = () => badge.getAttribute('data-unread').then(Number);
    await until(async () => `badge ${unread}, shows ${await shown()}`, async () => (await shown()) === unread, PATIENCE_MS);
  }

  async has(id) {
    await this.item(id).waitFor({ state: 'attached' });
  }

  async lacks(id) {
    await this.item(id).waitFor({ state: 'detached' });
  }

  /** Ids of the items in the list, newest first. */
  items() {
    return this.get('item').evaluateAll((items) => items.map((item) => item.dataset.id));
  }

  /** What came over the wire, oldest first, repeats and all: `{ event, id, notification }`. */
  async wire(event = null) {
    const lines = await this.get('wire-event').evaluateAll((all) => all.map(({ dataset: { event: name, id, notification } }) => ({ event: name, id, notification })));
    return lines.reverse().filter((line) => event === null || line.event === event);
  }

  /** Ids of the notifications that came over the wire, oldest first, repeats and all. */
  async received() {
    return (await this.wire('notification')).map(({ notification }) => notification);
  }
}
