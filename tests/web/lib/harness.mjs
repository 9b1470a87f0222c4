// The line protocol with whoever started this script: settings by environment, requests by stdout, answers by stdin.

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { print } from './check.mjs';

/** A server restart is the slowest thing that is ever asked for. */
const ANSWER_MS = 30_000;

let lines = null;

/** A setting that must be there. */
export function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

/** The server's address, without a slash at the end. */
export const serverUrl = () => setting('ARAUTO_URL').replace(/\/+$/, '');

/** Asks the harness to do something (`{"do":"restart"}`) and waits for its one line of answer. */
export async function ask(action) {
  lines ??= createInterface({ input: process.stdin });
  const answered = once(lines, 'line', { signal: AbortSignal.timeout(ANSWER_MS) });
  print({ do: action });
  const answer = JSON.parse((await answered)[0]);
  if (!answer.ok) throw new Error(`the harness could not ${action}: ${answer.error ?? 'no reason given'}`);
  return answer;
}

/** The one JSON document on standard input. */
export async function standardInput() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}
