// A TCP proxy that can cut every connection through it, as a broken network does.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** Stands between a client and `target`; `url` is what the client is given. */
export async function proxy(target) {
  const { hostname, port } = new URL(target);
  const open = new Set();
  let refusing = false;
  let accepted = 0;

  const server = createServer((client) => {
    if (refusing) return client.resetAndDestroy();
    accepted += 1;
    const upstream = connect({ host: hostname, port: Number(port) });
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {}); // A cut is what this proxy is for; `close` follows.
      socket.on('close', () => {
        open.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** How many connections it has carried. */
    get accepted() {
      return accepted;
    },
    /** Breaks every connection; new ones are refused until `mend`. */
    cut() {
      refusing = true;
      for (const socket of open) socket.resetAndDestroy();
    },
    mend() {
      refusing = false;
    },
    async close() {
      refusing = true;
      for (const socket of open) socket.destroy();
      server.close();
    },
  };
}
