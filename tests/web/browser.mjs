// A real Chromium on the demo page. Screenshots go to `SHOTS`; the harness restarts the server when asked.

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { forgetPublisher, publish, publishSeries, somebody } from './lib/arauto.mjs';
import { run } from './lib/check.mjs';
import { DemoPage, Window, launch } from './lib/demo-page.mjs';
import { ask, serverUrl } from './lib/harness.mjs';
import { contrast, reachable, seen, smallTargets } from './lib/looks.mjs';
import { proxy } from './lib/proxy.mjs';
import { until } from './lib/until.mjs';

const browser = await launch();

/** Runs `body(window)` in a window of its own and closes it; what its tabs complained of fails the check. */
const windowed = (body, options) => async () => {
  const window = await Window.open(browser, options);
  try {
    await body(window);
  } catch (error) {
    await window.close().catch(() => {});
    throw error;
  }
  await window.close();
};

async function reachesTheRightPersonOnly(window) {
  const [ana, bruno] = [somebody('ana'), 'bruno-lima'];
  const demo = await window.page({ left: ana, right: bruno });
  const [left, right] = [demo.device('left'), demo.device('right')];

  const { id: toAna } = await demo.publish({ users: [ana], title: 'Só para Ana', body: 'Seu pedido <b>2024/17</b> foi aprovado.' });
  await left.has(toAna);
  const { id: toUnit } = await publish({ audience: { unit: 'cras-norte' }, title: 'Só para o CRAS Norte', priority: 'urgent', requires_ack: true });
  const { id: toBenefit } = await publish({ audience: { benefit: 'natalidade' }, title: 'Só para quem cuida de natalidade', priority: 'high' });
  const { id: elsewhere } = await publish({ audience: { unit: 'cras-sul' }, title: 'Só para o CRAS Sul' });
  const { id: toAll } = await publish({ audience: { everyone: true }, title: 'Para todos', body: 'Manutenção hoje, das 22h às 23h.' });
  await left.has(toAll);
  await right.has(toAll);

  const to = (received) => received.filter((id) => [toAna, toUnit, toBenefit, elsewhere, toAll].includes(id));
  deepStrictEqual(to(await left.received()), [toAna, toAll], 'what Ana got');
  deepStrictEqual(to(await right.received()), [toUnit, toBenefit, toAll], 'what Bruno got');
  deepStrictEqual(to(await left.items()), [toAll, toAna], 'the order on the page: newest first');
  strictEqual(await left.item(toAna).getByTestId('item-body').locator('b').textContent(), '2024/17');
  deepStrictEqual([...demo.codings], ['gzip'], 'how the streams were coded');
  await demo.shot('desktop-light');
}

async function twoTabsAgree(window) {
  const [ana, other] = [somebody('ana'), somebody('other')];
  const first = (await window.page({ left: ana, right: other })).device('left');
  const second = (await window.page({ left: ana, right: other })).device('left');
  const [one, two, three] = await publishSeries(ana, 'Aviso', 3);
  for (const tab of [first, second]) await tab.badge(3);

  await first.item(three).getByTestId('item-read').click();
  await second.badge(2);
  await first.badge(2);
  strictEqual(await second.item(three).getAttribute('data-unread'), 'false', 'read on one tab, unread on the other');

  await second.item(three).getByTestId('item-read').click();
  await first.badge(3);
  await second.item(two).getByTestId('item-archive').click();
  await first.badge(2);
  await first.lacks(two);
  await first.get('filter-archived').click();
  await first.has(two);
  await first.get('filter-all').click();

  await second.get('read-all').click();
  for (const tab of [first, second]) await tab.badge(0);
  strictEqual(await first.item(one).getAttribute('data-unread'), 'false', 'read-all on one tab, unread on the other');
  await second.demo.shot('two-tabs');
}

async function acknowledgedAndRetracted(window) {
  const ana = somebody('ana');
  const demo = await window.page({ left: ana, right: ana });
  const [left, right] = [demo.device('left'), demo.device('right')];
  await demo.get('example-pending').click();
  await demo.get('requires-ack').check();
  const { id } = await demo.publish({ users: [ana], title: 'Dê ciência' });
  await right.badge(1);
  await left.item(id).getByTestId('item-ack').click();
  await right.item(id).getByTestId('item-acked').waitFor();
  await right.badge(0);
  await demo.get('receipt').getByTestId('sent-retract').click();
  await left.lacks(id);
  await right.lacks(id);
}

async function resumesAfterTheButtonCutIt(window) {
  const ana = somebody('ana');
  const demo = await window.page({ left: ana, right: ana });
  const [left, right] = [demo.device('left'), demo.device('right')];
  const expected = await publishSeries(ana, 'Antes', 2);
  await left.badge(2);

  await left.get('cut').click();
  await left.is('cut');
  expected.push(...(await publishSeries(ana, 'Durante o corte', 3)));
  await right.badge(5);
  strictEqual((await left.received()).length, 2, 'a cut stream still delivers');
  await demo.shot('cut');

  await left.get('reconnect').click();
  await left.badge(5);
  await left.is('live');
  const missed = left.get('missed');
  await until('3 missed', async () => (await missed.getAttribute('data-count')) === '3');
  expected.push(...(await publishSeries(ana, 'De volta', 1)));
  await left.badge(6);
  deepStrictEqual(await left.received(), expected, 'not exactly what was published, in order, once');
  // What was sent to everyone before this person came stands below, as read.
  deepStrictEqual((await left.items()).slice(0, expected.length), expected.toReversed());
  strictEqual(await missed.getAttribute('data-count'), '3', 'a new one was counted as missed');
  strictEqual(await left.get('last-cursor').textContent(), await right.get('last-cursor').textContent(), 'cursors differ');
  await demo.shot('resumed');
}

async function resumesAfterTheNetworkBroke(window) {
  const [ana, other] = [somebody('ana'), somebody('other')];
  const wire = await proxy(serverUrl());
  const demo = await window.page({ left: ana, right: other, base: wire.url });
  const left = demo.device('left');
  const expected = await publishSeries(ana, 'Antes', 1);
  await left.badge(1);
  for (const round of ['primeiro', 'segundo']) {
    wire.cut();
    await left.is('reconnecting');
    expected.push(...(await publishSeries(ana, `Durante o ${round} corte`, 3)));
    await demo.shot(`network-cut-${round}`);
    wire.mend();
    await left.badge(expected.length);
    await left.is('live');
  }
  deepStrictEqual(await left.received(), expected, 'not exactly what was published, in order, once');
  deepStrictEqual(await left.wire('reset'), [], 'a reset that lost nothing');
  await wire.close();
}

async function staysAwayWhenTold(window) {
  const [ana, bruno] = [somebody('ana'), somebody('bruno')];
  const page = await window.blank();
  const demo = new DemoPage(page);
  let opened = 0;
  const closing = 'retry: 20\n\nevent: closing\nretry: 20\ndata: {"reason":"revoked","reconnect":false,"after_ms":20}\n\n';
  await page.route(/\/v1\/stream\?/, async (route) => {
    opened += 1;
    await route.fulfill({ contentType: 'text/event-stream', body: closing });
  });
  await page.goto(`${serverUrl()}/?${new URLSearchParams({ left: ana, right: bruno })}`);
  for (const side of ['left', 'right']) await demo.device(side).is('closed');
  await demo.shot('closed');
  await page.unroute(/\/v1\/stream\?/);
  // The right device is asked to come back and does; the left one has had as long and stays away.
  await demo.device('right').get('reconnect').click();
  await demo.device('right').is('live');
  const { id } = await demo.publish({ users: [bruno], title: 'Só quem pediu voltou' });
  await demo.device('right').has(id);
  await demo.device('left').is('closed');
  strictEqual(opened, 2, 'a stream that was told to stay away came back');
}

async function usableByKeyboard(window) {
  const [ana, other] = [somebody('ana'), somebody('other')];
  const demo = await window.page({ left: ana, right: other });
  const { keyboard } = demo.page;
  await demo.page.evaluate(() => document.activeElement.blur());

  await reachable(demo.page, 'title-input');
  await keyboard.press('Control+A');
  await keyboard.type('Só com o teclado');
  await demo.shot('keyboard');
  await keyboard.press('Enter');
  const { id: byEnter } = await demo.receiptAfter(null);
  await demo.device('left').has(byEnter);
  await until('the arrival being said aloud', async () => (await demo.get('announcer').textContent()).includes('Só com o teclado'));

  await reachable(demo.page, 'publish-submit');
  await demo.shot('keyboard-publish');
  await keyboard.press('Enter');
  const { id: byButton } = await demo.receiptAfter(byEnter);
  await demo.device('left').has(byButton);
  await demo.device('left').badge(2);

  await reachable(demo.page, 'item-archive');
  await keyboard.press('Enter');
  await demo.device('left').lacks(byButton);
  const focused = await demo.page.evaluate(() => document.activeElement.dataset.id);
  strictEqual(focused, byEnter, 'the focus did not go on to the next notification');
  await reachable(demo.page, 'item-read');
  await keyboard.press('Space');
  await demo.device('left').badge(0);
}

async function fitsAPhone(window) {
  const ana = somebody('ana');
  const demo = await window.page({ left: ana, right: 'bruno-lima' });
  const { page } = demo;
  const fits = async (where) => {
    const overflow = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    strictEqual(overflow, 0, `${where} is ${overflow} px wider than the phone`);
    deepStrictEqual(await smallTargets(page), [], `${where} has targets too small for a finger`);
  };
  await fits('the form');
  await demo.shot('phone-publish');
  const word = 'Incompreensibilidade'.repeat(6);
  const { id } = await demo.publish({ users: [ana], title: `Solicitação ${word}`, body: `<p>Seu pedido <b>2024/17</b> foi aprovado.</p><ul><li>${word}</li></ul>` });
  await fits('the receipt');
  await demo.get('go-left').click();
  await demo.device('left').item(id).scrollIntoViewIfNeeded();
  ok(await demo.device('left').root.isVisible() && !(await demo.device('right').root.isVisible()), 'one section at a time');
  await fits('the inbox');
  await demo.shot('phone-inbox');
}

async function isReadable(window, scheme) {
  const ana = somebody('ana');
  const demo = await window.page({ left: ana, right: 'bruno-lima' });
  for (const example of ['pending', 'approved']) {
    await demo.get(`example-${example}`).click();
    await demo.publish({ users: [ana], title: 'Uma notificação para ler', body: 'Com <b>ênfase</b>, <code>código</code> e <a href="/ajuda">link</a>.' });
  }
  await demo.device('left').badge(2);
  await demo.device('left').get('item-read').first().click();
  await demo.device('left').badge(1);
  const weak = (await contrast(demo.page)).filter(({ ratio }) => ratio < 4.5);
  deepStrictEqual(weak, [], `text too weak in the ${scheme} scheme`);
  await demo.shot(`readable-${scheme}`);
}

const readable = (scheme) => windowed((window) => isReadable(window, scheme), { colorScheme: scheme });

async function darkIsDark(window) {
  const demo = await window.page({ left: 'ana-souza', right: 'bruno-lima' });
  const { body, text } = await seen(demo.page);
  ok(body < 0.1 && text > 0.6, `paper ${body}, ink ${text}`);
}

async function speaksTwoLanguages() {
  for (const [locale, publishWord] of [['en-US', 'Publish'], ['pt-BR', 'Publicar'], ['fr-FR', 'Publish']]) {
    await windowed(async (window) => {
      const demo = await window.page({ left: 'ana-souza', right: 'bruno-lima' });
      strictEqual((await demo.get('publish-submit').textContent()).trim(), publishWord, locale);
      await demo.get('lang-en').click();
      strictEqual((await demo.get('publish-submit').textContent()).trim(), 'Publish');
      strictEqual(await demo.page.getAttribute('html', 'lang'), 'en');
      const differing = await demo.page.evaluate(async () => {
        const [{ pt }, { en }] = await Promise.all([import('/demo/words.pt.js'), import('/demo/words.en.js')]);
        return [...Object.keys(pt).filter((key) => !(key in en)), ...Object.keys(en).filter((key) => !(key in pt))];
      });
      deepStrictEqual(differing, [], 'words that only one language has');
    }, { locale })();
  }
}

async function explainsErrors(window) {
  const demo = await window.page({ left: somebody('ana'), right: somebody('bruno') });
  await demo.get('title-input').fill('x'.repeat(201));
  await demo.get('publish-submit').click();
  ok((await demo.get('error-title').textContent()).includes('200'), 'the limit is not named');
  strictEqual(await demo.get('title-input').getAttribute('aria-invalid'), 'true');
  await demo.shot('field-error');

  await demo.get('title-input').fill('Sem permissão');
  strictEqual(await demo.get('error-title').count(), 0, 'a corrected field keeps its mark');
  await demo.get('publish-as').selectOption('bruno-lima');
  await demo.get('publish-submit').click();
  const error = demo.get('publish-error');
  await error.waitFor();
  ok((await error.textContent()).includes('não tem permissão'), await error.textContent());
}

async function showsMarkupAsText(window) {
  const ana = somebody('ana');
  const demo = await window.page({ left: ana, right: somebody('other') });
  const title = '</script><img src=x onerror=alert(1)><b>&amp;';
  const body = '<b onclick="alert(1)">ok</b><script>alert(1)</script><a href="javascript:alert(1)">a</a><a href="/x">b</a><img src=x onerror=alert(1)>';
  const { id } = await demo.publish({ users: [ana], title, body });
  const item = demo.device('left').item(id);
  strictEqual(await item.getByTestId('item-title').textContent(), title);
  const shown = item.getByTestId('item-body');
  strictEqual(await shown.locator('script, img, [onclick], a[href^="javascript"]').count(), 0, await shown.innerHTML());
  strictEqual(await shown.locator('a[href="/x"]').count(), 1);
  // The page does not lean on the server alone: it builds the same harmless text from what was never sanitised.
  const rebuilt = await demo.page.evaluate(async (raw) => {
    const { richText, safeHref } = await import('/demo/richtext.js');
    const holder = document.createElement('div');
    holder.append(richText(raw));
    return [holder.innerHTML, ['/ok', '//evil', '/\\evil', '/\t/evil', 'javascript:1', 'http://x', 'https://x'].filter(safeHref)];
  }, `${body}<svg><script>alert(1)</script></svg><math><a href=javascript:alert(1)>m</a></math>`);
  deepStrictEqual(rebuilt, ['<b>ok</b><a>a</a><a href="/x" target="_blank" rel="noopener noreferrer">b</a>', ['/ok', 'https://x']]);
  // Chromium reports handlers that it meets while parsing, although a parsed document never runs any.
  window.tolerate(/inline event handler/);
}

async function resetIsShownAfterARestart(window) {
  const [ana, other] = [somebody('ana'), somebody('other')];
  const demo = await window.page({ left: ana, right: other });
  const left = demo.device('left');
  await publishSeries(ana, 'Antes do reinício', 2);
  await left.badge(2);

  await ask('restart');
  forgetPublisher();
  await left.get('note-reset').waitFor();
  await left.badge(0);
  deepStrictEqual(await left.items(), [], 'the inbox still shows what the server no longer has');
  await left.is('live');
  const { id } = await publish({ audience: { users: [ana] }, title: 'Depois do reinício' });
  await left.has(id);
  await left.badge(1);
  await demo.shot('reset');

  await left.get('cut').click();
  await left.is('cut');
  const { id: missed } = await publish({ audience: { users: [ana] }, title: 'Durante o corte' });
  await left.get('reconnect').click();
  await left.has(missed);
  strictEqual((await left.wire('reset')).length, 1, 'a reset was followed by another');
}

await run(
  [
    ['a_notification_reaches_the_right_person_only', windowed(reachesTheRightPersonOnly)],
    ['the_badge_agrees_on_two_tabs', windowed(twoTabsAgree)],
    ['an_acknowledgement_and_a_retraction_reach_both_devices', windowed(acknowledgedAndRetracted)],
    ['a_stream_cut_by_its_button_resumes_with_exactly_what_it_missed', windowed(resumesAfterTheButtonCutIt)],
    ['a_stream_cut_by_the_network_resumes_with_exactly_what_it_missed', windowed(resumesAfterTheNetworkBroke)],
    ['a_stream_told_to_stay_away_comes_back_only_by_hand', windowed(staysAwayWhenTold)],
    ['the_page_is_usable_by_keyboard', windowed(usableByKeyboard)],
    ['the_page_fits_a_phone', windowed(fitsAPhone, { viewport: { width: 375, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 })],
    ['the_light_scheme_is_readable', readable('light')],
    ['the_dark_scheme_is_readable', readable('dark')],
    ['the_dark_scheme_is_dark', windowed(darkIsDark, { colorScheme: 'dark' })],
    ['the_page_speaks_portuguese_and_english', speaksTwoLanguages],
    ['errors_are_explained_in_plain_words', windowed(explainsErrors)],
    ['markup_in_a_notification_stays_text', windowed(showsMarkupAsText)],
    ['a_reset_is_shown_after_a_restart_with_an_empty_store', windowed(resetIsShownAfterARestart)],
  ],
  () => browser.close(),
);
