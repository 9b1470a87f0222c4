// npm `eventsource-parser` reads what our encoder wrote: stdin is one JSON document
// `[{ "bytes": base64, "expect": [{ "id"?, "event"?, "data" }] }, …]`. Each case is fed whole, byte by byte, and split
// at random points.

import { deepStrictEqual } from 'node:assert';
import { createParser } from 'eventsource-parser';
import { run } from './lib/check.mjs';
import { standardInput } from './lib/harness.mjs';
import { randomFrom } from './lib/random.mjs';

const RANDOM_SPLITS = 8;
/** Longer cases are not fed byte by byte: it takes long and shows nothing new. */
const BY_BYTE_UP_TO = 4096;
const SEED = Number(process.env.SEED ?? 20_241);

function parse(chunks) {
  const events = [];
  const decoder = new TextDecoder('utf-8');
  const parser = createParser({
    onEvent: ({ id, event, data }) => events.push({ id, event, data }),
    onError: (error) => {
      throw error;
    },
  });
  for (const chunk of chunks) parser.feed(decoder.decode(chunk, { stream: true }));
  parser.feed(decoder.decode());
  return events;
}

function split(bytes, random) {
  const chunks = [];
  for (let from = 0; from < bytes.length; ) {
    const to = Math.min(bytes.length, from + 1 + Math.floor(random() ** 3 * 64));
    chunks.push(bytes.subarray(from, to));
    from = to;
  }
  return chunks;
}

const expected = ({ id, event, data }) => ({ id: id ?? undefined, event: event ?? undefined, data });

await run([
  [
    'eventsource_parser_reads_back_what_was_encoded',
    async () => {
      const cases = await standardInput();
      if (!Array.isArray(cases) || cases.length === 0) throw new Error('no cases on stdin');
      const random = randomFrom(SEED);
      for (const [index, { bytes: encoded, expect }] of cases.entries()) {
        const bytes = Buffer.from(encoded, 'base64');
        const ways = [[bytes]];
        if (bytes.length <= BY_BYTE_UP_TO) ways.push([...bytes].map((byte) => Uint8Array.of(byte)));
        for (let n = 0; n < RANDOM_SPLITS; n += 1) ways.push(split(bytes, random));
        for (const chunks of ways) {
          const sizes = chunks.length > 20 ? `${chunks.length} chunks` : `chunks of ${chunks.map((chunk) => chunk.length)}`;
          deepStrictEqual(parse(chunks), expect.map(expected), `case ${index} in ${sizes}, seed ${SEED}`);
        }
      }
      return { cases: cases.length };
    },
  ],
]);
