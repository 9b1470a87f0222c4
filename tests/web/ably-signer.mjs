// npm `ably` signs what our signer signed: stdin is one JSON document `[{ "key", "ttl"?, "capability", "rights",
// "clientId"?, "timestamp", "nonce", "mac" }, …]`. `rights` is the meaning of `capability`, in another order.

import { ok, strictEqual } from 'node:assert';
import Ably from 'ably';
import { run } from './lib/check.mjs';
import { standardInput } from './lib/harness.mjs';

async function signs({ key, ttl, capability, rights, clientId, timestamp, nonce, mac }, at) {
  const rest = new Ably.Rest({ key, logLevel: 0 });
  const request = await rest.auth.createTokenRequest({ ttl, capability: rights, clientId, timestamp, nonce }, { key });
  strictEqual(request.capability, capability, `the text of the rights, ${at}`);
  strictEqual(request.mac, mac, `the signature, ${at}`);
  strictEqual(request.keyName, key.split(':')[0], at);
}

await run([
  [
    'ably_js_signs_requests_for_tokens_as_we_do',
    async () => {
      const cases = await standardInput();
      ok(Array.isArray(cases) && cases.length > 0, 'no cases on stdin');
      for (const [index, one] of cases.entries()) await signs(one, `case ${index}: ${JSON.stringify(one)}`);
      return { cases: cases.length };
    },
  ],
]);
