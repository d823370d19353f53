/** How a watch shares the event loop: on a stream of our own making, as no member says when a turn ends. */
import { PassThrough } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Etcd3 } from "etcd3";
import { expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { watchEtcd } from "../../src/store/etcd/etcd-watch.ts";
import type { Change, Revision } from "../../src/store/store.ts";

import { watchBytes } from "../support/etcd-wire.ts";

test.each([
  [20_000, "after turns in which it was read"],
  [2, "at once"],
])("a revision of %i deletions is applied whole, in one turn, %s", async (count) => {
  const stream = Object.assign(new PassThrough({ objectMode: true }), { cancel() {} });
  const written: unknown[] = [];
  stream.write = (message: unknown) => written.push(message) > 0;
  // True of what the watch uses of a client.
  const client = { watchClient: { watch: async () => stream } } as unknown as Etcd3;
  const stopper = new AbortController();
  const batches: [Revision, number][] = [];
  const sink = {
    created() {},
    progress() {},
    batch: (revision: Revision, changes: readonly Change[]) => void batches.push([revision, changes.length]),
  };
  const order = { range: { start: "/a/", end: "/a0" }, after: 5n, inPieces: false };
  const ended = watchEtcd(client, systemClock, order, sink, stopper.signal);
  await nextTurn();
  expect(written).toHaveLength(1);
  stream.emit("data", watchBytes({ created: true, header: { revision: "6" } }));
  const events = Array.from({ length: count }, (_, n) => ({
    type: "Delete",
    kv: { key: Buffer.from(`/a/${n}`), mod_revision: "6" },
  }));
  stream.emit("data", watchBytes({ header: { revision: "6" }, events }));
  const whole = [[6n, count]];
  expect(batches).toEqual(count > 1_000 ? [] : whole);
  let turns = 0;
  for (; batches.length === 0 && turns < 1_000; turns++) await nextTurn();
  expect(turns > 10).toBe(count > 1_000); // each reads a thousand at most
  expect(batches).toEqual(whole);
  stopper.abort();
  expect(await ended).toEqual({ kind: "stopped" });
});
