// A person and their token. Development mode mints tokens for anyone; a real page has its own login here.

import { Problem, call } from './api.js';

const LIFETIME_S = 3600;
/** A token this close to its end is not used for a new request. */
const MARGIN_MS = 30_000;

export class Session {
  #identity;
  #token = null;

  /** `identity` is `{ sub, roles, units, benefits }`. */
  constructor(identity) {
    this.#identity = identity;
  }

  get sub() {
    return this.#identity.sub;
  }

  /** A token that is good for a while. One request at a time asks for it, however many callers wait. */
  token() {
    this.#token ??= this.#mint();
    return this.#token.then(({ token, expires_at: expiresAt }) => {
      if (Date.parse(expiresAt) - Date.now() > MARGIN_MS) return token;
      return this.fresh();
    });
  }

  /** A token minted now. */
  fresh() {
    this.#token = this.#mint();
    return this.#token.then(({ token }) => token);
  }

  #mint() {
    const { sub, roles, units, benefits } = this.#identity;
    const minted = call('POST', '/dev/token', { body: { sub, roles, units, benefits, ttl_seconds: LIFETIME_S } }).then(
      (answer) => answer.body,
    );
    minted.catch(() => {
      this.#token = null;
    });
    return minted;
  }

  /** A call in this person's name. A token that the server no longer accepts is replaced once. */
  async send(method, path, options = {}) {
    const token = await this.token();
    try {
      return await call(method, path, { ...options, token });
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 401) throw problem;
      return call(method, path, { ...options, token: await this.fresh() });
    }
  }

  // The public API, one method for each thing the page does with it.

  publish(draft, idempotencyKey) {
    return this.send('POST', '/v1/notifications', { body: draft, headers: { 'idempotency-key': idempotencyKey } });
  }

  async retract(id) {
    await this.send('DELETE', `/v1/notifications/${encodeURIComponent(id)}`);
  }

  async page({ state, before, limit = 50 }) {
    const query = new URLSearchParams({ limit });
    if (state) query.set('state', state);
    if (before) query.set('before', before);
    return (await this.send('GET', `/v1/notifications?${query}`)).body;
  }

  async notification(id) {
    return (await this.send('GET', `/v1/notifications/${encodeURIComponent(id)}`)).body;
  }

  async unreadCount() {
    return (await this.send('GET', '/v1/notifications/unread-count')).body;
  }

  /** `action` is read, unread, archive, unarchive or ack; answers the new state. */
  async mark(id, action) {
    return (await this.send('POST', `/v1/notifications/${encodeURIComponent(id)}/${action}`)).body;
  }

  async readAll(upTo) {
    return (await this.send('POST', '/v1/notifications/read-all', { body: upTo ? { up_to: upTo } : {} })).body;
  }

  async ticket() {
    return (await this.send('POST', '/v1/stream/tickets')).body.ticket;
  }

  async heartbeat(connectionId, sequence) {
    await this.send('POST', `/v1/connections/${encodeURIComponent(connectionId)}/heartbeat`, { body: { sequence } });
  }

  async renew(connectionId) {
    const token = await this.fresh();
    return (await call('POST', `/v1/connections/${encodeURIComponent(connectionId)}/renew`, { token })).body;
  }
}
