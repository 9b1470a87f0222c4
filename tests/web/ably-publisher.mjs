// npm `ably` publishes what our publisher publishes, to a host on loopback that notes it: stdin is one JSON document
// `{ "key", "version", "one": [{ "channel", "message", "path", "body" }], "several": { "specifications", "path", "body" } }`,
// where `path` and `body` are our requests. `action` and `size`, which `ably` adds, are not needed (Ably, publish).

import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { once } from 'node:events';
import { createServer } from 'node:http';
import Ably from 'ably';
import { run } from './lib/check.mjs';
import { standardInput } from './lib/harness.mjs';

const asked = [];
const host = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { method, url, headers } = request;
  asked.push({ method, path: url.split('?')[0], headers, body: JSON.parse(Buffer.concat(chunks).toString('utf8')) });
  response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify({ channel: 'c', messageId: 'm', serials: ['s'] }));
});
host.listen(0, '127.0.0.1');
await once(host, 'listening');

const { key, version, authorization, one, several } = await standardInput();
const rest = new Ably.Rest({ key, endpoint: '127.0.0.1', port: host.address().port, tls: false, useBinaryProtocol: false, logLevel: 0 });

const list = (body) => (Array.isArray(body) ? body : [body]);
const bare = ({ action, size, ...message }) => message;

async function messagesAreAlike() {
  ok(one.length > 0, 'no cases on stdin');
  for (const { channel, message, path, body } of one) {
    asked.length = 0;
    await rest.channels.get(channel).publish({ ...message, data: JSON.parse(message.data) });
    const [theirs] = asked;
    strictEqual(theirs.method, 'POST');
    strictEqual(path, theirs.path, 'the path');
    deepStrictEqual(list(body).map(bare), list(theirs.body).map(bare), `the body for ${channel}`);
    strictEqual(theirs.headers.authorization, authorization);
    strictEqual(theirs.headers['x-ably-version'], version);
    strictEqual(theirs.headers['content-type'], 'application/json');
    strictEqual(theirs.headers.accept, 'application/json');
  }
  return { cases: one.length };
}

async function batchesAreAlike() {
  asked.length = 0;
  // `ably` neither encodes nor checks the messages of a batch (ably-js, issue 2195): they go as they are given.
  await rest.batchPublish(several.specifications).catch(() => {});
  const [theirs] = asked;
  strictEqual(several.path, theirs.path);
  deepStrictEqual(several.body, theirs.body);
}

await run(
  [
    ['one_message_goes_out_as_ably_js_sends_it', messagesAreAlike],
    ['a_batch_goes_out_as_ably_js_sends_it', batchesAreAlike],
  ],
  async () => host.close(),
);
