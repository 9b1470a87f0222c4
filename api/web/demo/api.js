// One HTTP call, and the way it can fail. Every answer that is not a success becomes a `Problem`.

/** A browser opens six HTTP/1.1 connections to an address; with many tabs open a call may wait for one. */
const PATIENCE_MS = 15_000;

/** RFC 9457's problem details, or `status: 0` when the server was not reached at all. */
export class Problem extends Error {
  constructor({ status, type = 'about:blank', title = '', detail = '', errors = [] }, retryAfterMs = null) {
    super(title || detail || `HTTP ${status}`);
    Object.assign(this, { status, type, title, detail, errors, retryAfterMs });
  }
}

/** Calls `method path`; answers `{ status, headers, body }` or throws a `Problem`. */
export async function call(method, path, { token, body, headers = {} } = {}) {
  const request = { method, headers: { accept: 'application/json', ...headers }, signal: AbortSignal.timeout(PATIENCE_MS) };
  if (token) request.headers.authorization = `Bearer ${token}`;
  if (body !== undefined) {
    request.headers['content-type'] = 'application/json';
    request.body = JSON.stringify(body);
  }
  const response = await reach(path, request);
  const answer = await json(response);
  if (response.ok) return { status: response.status, headers: response.headers, body: answer };
  const seconds = Number(response.headers.get('retry-after'));
  throw new Problem({ ...answer, status: response.status }, seconds > 0 ? seconds * 1000 : null);
}

async function reach(path, request) {
  try {
    return await fetch(path, request);
  } catch (cause) {
    throw new Problem({ status: 0, type: cause.name === 'TimeoutError' ? 'timeout' : 'unreachable' });
  }
}

async function json(response) {
  try {
    return JSON.parse(await response.text());
  } catch {
    return {};
  }
}
