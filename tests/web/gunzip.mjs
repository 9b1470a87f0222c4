// zlib, as Node has it, reads what our compressed streams are made of: stdin is one JSON document
// `[{ "pieces": [base64, …], "plain": [base64, …], "end": base64 }, …]`. Each piece gives its frame as soon as it is there,
// cut anywhere or not, and only the end makes the whole of it.

import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert';
import { constants, createGunzip, gunzipSync } from 'node:zlib';
import { run } from './lib/check.mjs';
import { standardInput } from './lib/harness.mjs';
import { randomFrom } from './lib/random.mjs';

const SEED = Number(process.env.SEED ?? 20_241);

const bytes = (encoded) => Buffer.from(encoded, 'base64');

/** Writes to the reader and answers what it could read after that, and no later. */
function readable(gunzip, chunk) {
  return new Promise((done, failed) => {
    gunzip.once('error', failed);
    gunzip.write(chunk, () => {
      const read = [];
      for (let part = gunzip.read(); part !== null; part = gunzip.read()) read.push(part);
      gunzip.off('error', failed);
      done(Buffer.concat(read));
    });
  });
}

async function eachFrameIsThereWithItsPiece({ pieces, plain }, random) {
  const gunzip = createGunzip({ flush: constants.Z_SYNC_FLUSH });
  for (const [index, piece] of pieces.entries()) {
    const cut = Math.floor(random() * piece.length);
    const read = [await readable(gunzip, piece.subarray(0, cut)), await readable(gunzip, piece.subarray(cut))];
    deepStrictEqual(Buffer.concat(read), plain[index], `frame ${index}`);
  }
  gunzip.destroy();
}

await run([
  [
    'zlib_reads_each_frame_with_its_piece_and_the_whole_with_its_end',
    async () => {
      const cases = await standardInput();
      ok(Array.isArray(cases) && cases.length > 0, 'no cases on stdin');
      const random = randomFrom(SEED);
      for (const { pieces, plain, end } of cases) {
        const one = { pieces: pieces.map(bytes), plain: plain.map(bytes) };
        await eachFrameIsThereWithItsPiece(one, random);
        const whole = Buffer.concat([...one.pieces, bytes(end)]);
        strictEqual(gunzipSync(whole).equals(Buffer.concat(one.plain)), true, 'the whole');
        throws(() => gunzipSync(whole.subarray(0, -8)), { code: 'Z_BUF_ERROR' });
        const another = Buffer.from(whole);
        another[another.length - 8] ^= 1;
        throws(() => gunzipSync(another), { code: 'Z_DATA_ERROR' });
      }
      return { cases: cases.length };
    },
  ],
]);
