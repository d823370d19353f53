/**
 * A process of its own that keeps a table on disk and changes it for ever, until it is killed. Every record of a commit
 * holds the same number, so that a mixture of two would show. Arguments: folder with the product's dist, file.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [, , dist, file] = process.argv;
const load = (path) => import(pathToFileURL(join(dist, path)).href);
const { LastKnownGood } = await load("sync/lkg/last-known-good.js");
const { Table } = await load("sync/table.js");
const { systemClock } = await load("base/clock.js");
const { silentLog } = await load("base/log.js");

const FACTOR = 2_000; // its pauses of seconds are milliseconds here
const clock = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs() * FACTOR,
  after: (delayMs, run) => systemClock.after(delayMs / FACTOR, run),
  every: (intervalMs, run) => systemClock.every(intervalMs / FACTOR, run),
};
const table = new Table({ clock, consumer: { apply: () => undefined } });
const keeper = new LastKnownGood({ file, prefix: "/apisix", table, clock, log: silentLog });
const restored = await keeper.restore();
let applied = restored?.applied ?? 0n;
const change = () => {
  applied++;
  const kv = (key) => ({
    key,
    value: Buffer.from(`${applied}`),
    createRevision: 1n,
    modRevision: applied,
    version: 1n,
    lease: 0n,
  });
  const keys = Array.from({ length: 20 }, (_, i) => `/apisix/routes/${i}`);
  table.apply(
    applied,
    keys.map((key) => ({
      type: "put",
      key,
      kv: { ...kv(key), value: Buffer.from(`${applied} ${"x".repeat(2_000)}`) },
    })),
  );
};
change();
keeper.start(() => ({ applied, identity: { id: "one", epoch: 1 }, clusterId: "c" }));
process.stdout.write("started\n");
setInterval(change, 1);
