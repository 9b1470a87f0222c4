// Runs checks one after the other; each prints one JSON line, and the first failure ends the script.

/** No check may take longer: a hanging one is a failing one. */
const CHECK_MS = Number(process.env.CHECK_MS ?? 60_000);

/**
 * Runs `checks`, a list of `[name, async function]`. `cleanUp` runs on every path. Sets the exit code and ends the
 * process, whatever a client library still keeps open.
 */
export async function run(checks, cleanUp = async () => {}) {
  let failed = false;
  let crash;
  // What a client library throws at nobody still fails the check that is running.
  const crashed = new Promise((_, reject) => {
    crash = reject;
  });
  crashed.catch(() => {});
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  for (const [name, body] of checks) {
    const started = performance.now();
    try {
      const noted = await Promise.race([bounded(body()), crashed]);
      print({ check: name, ok: true, ms: Math.round(performance.now() - started), ...noted });
    } catch (error) {
      failed = true;
      print({ check: name, ok: false, ms: Math.round(performance.now() - started), error: brief(error) });
      process.stderr.write(`${name.replaceAll('_', ' ')}: ${plain(error.stack ?? String(error))}\n`);
      break;
    }
  }
  await Promise.race([cleanUp(), new Promise((done) => setTimeout(done, 5_000))]).catch((error) => process.stderr.write(`${error.stack}\n`));
  process.exit(failed ? 1 : 0);
}

/** Without the colours that some libraries put into their messages. */
const plain = (text) => text.replace(/\u001b\[\d+m/g, '');

const brief = (error) => plain(error?.message ?? String(error)).slice(0, 600);

/** One JSON line on stdout. */
export function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function bounded(work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${CHECK_MS} ms`)), CHECK_MS);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
