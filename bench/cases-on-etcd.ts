/**
 * Cases of a gateway whose store is elsewhere: changes during load, and tables of three sizes.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Store } from "../src/store/store.ts";
import { arrived, bearer, roundrobin } from "./case-parts.ts";
import { etcdMissing, fill, openStore, type Record, startEtcd } from "./etcd.ts";
import { usageOf } from "./machine.ts";
import { requestsFile } from "./request-lines.ts";
import type { Opened, Run, Series } from "./series.ts";
import { gatewayOn, launchGateway, SECRET, type Server, untilReady } from "./servers.ts";
import { changeCpuMs, restingMicros, type TableFacts, turnsUntil } from "./table-facts.ts";
import { signer } from "./tokens.ts";

const inAnHour = (): number => Math.floor(Date.now() / 1_000) + 3_600;

const consumerAt = (prefix: string, n: number): Record => ({
  key: `${prefix}/consumers/c${n}`,
  value: { username: `c${n}`, plugins: { "jwt-auth": { key: `k${n}`, secret: SECRET } } },
});
const routeAt = (prefix: string, n: number, upstream: string, desc = ""): Record => ({
  key: `${prefix}/routes/r${n}`,
  value: { id: `r${n}`, uri: `/many/${n}/*`, desc, plugins: { "jwt-auth": {} }, upstream: roundrobin(upstream) },
});

const CALM = "no changes";
const CHANGING = "10 changes a second";
/** Twins on one etcd, each below its prefix, under the same load; the routes of one change, those of the other do not. */
export const changes: Series = {
  name: "changes",
  cases: [CALM, CHANGING],
  quick: false,
  halfOf: { case: CALM, server: "jotgate, fast lane" },
  missing: etcdMissing,
  async open({ folder, upstream }): Promise<Opened> {
    const etcd = await startEtcd(folder);
    const store = openStore(etcd);
    const twin = (name: string, prefix: string, during?: Run["during"]): Run => {
      const kind = gatewayOn(etcd.url, prefix);
      return {
        case: name,
        kind: {
          ...kind,
          // First the records: a gateway below a prefix that nobody has written to yet is not ready.
          async start(to, own) {
            await fill(store, 100, (n) => routeAt(prefix, n, upstream));
            await fill(store, 1, (n) => consumerAt(prefix, n));
            return kind.start(to, own);
          },
        },
        expect: { status: 200, tokens: "cached" },
        ...(during && { during }),
        async prepare(server, _upstream, own) {
          const token = signer("HS256", "k0", SECRET).token({ exp: inAnHour() });
          await arrived(server, "/many/99/x", 200, `Bearer ${token}`);
          return requestsFile(own, "many", bearer([token], "/many/99/x"));
        },
      };
    };
    let written = 0;
    const during = (): (() => Promise<void>) => {
      let stopped = false;
      const writing = (async () => {
        while (!stopped) {
          const n = written++;
          await fill(store, 1, () => routeAt("/changing", n % 90, upstream, `change ${n}`));
          await delay(100);
        }
      })();
      return async () => {
        stopped = true;
        await writing;
      };
    };
    return {
      runs: [twin(CALM, "/calm"), twin(CHANGING, "/changing", during)],
      async stop() {
        await store.close();
        await etcd.stop();
      },
    };
  },
};

/** Records of one gateway, below a prefix of their own. */
export interface Table {
  readonly prefix: string;
  readonly routes: number;
  readonly consumers: number;
}

interface Place {
  readonly etcd: Server;
  readonly store: Store;
  readonly upstream: string;
  readonly folder: string;
}

/** Writes a table, starts a gateway on it, and measures what that and changing it costs. */
export async function startOnTable(
  { prefix, routes, consumers }: Table,
  { etcd, store, upstream, folder }: Place,
  say: (text: string) => void = (text) => console.log(text),
): Promise<{ server: Server & { readonly status: string }; facts: TableFacts }> {
  say(`  writing ${routes} routes and ${consumers} consumers to etcd`);
  await fill(store, routes, (n) => routeAt(prefix, n, upstream));
  await fill(store, consumers, (n) => consumerAt(prefix, n));
  say("  starting a gateway on them");
  const began = performance.now();
  const server = await launchGateway(etcd.url, prefix, folder);
  try {
    const turns = await turnsUntil(server.status, untilReady(server.name, server.status));
    const readyMs = performance.now() - began;
    await restingMicros(server, 2_000); // the last-known-good file is written
    const rssMiB = usageOf(server.pid).rssBytes / 2 ** 20;
    const change = await changeCpuMs(server, store, (n) => routeAt(prefix, n % routes, upstream, `change ${n}`));
    const cost = { longestTurnMs: turns.longest, startTurnMs: turns.start, rssMiB, changeCpuMs: change };
    return { server, facts: { routes, consumers, readyMs, ...cost } };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

export const SMALL_TABLE: Table = { prefix: "/small", routes: 10, consumers: 1_000 };
const SIZES: readonly { readonly name: string; readonly table: Table }[] = [
  { name: "table 10 routes 1k consumers", table: SMALL_TABLE },
  { name: "table 1k routes 100k consumers", table: { prefix: "/medium", routes: 1_000, consumers: 100_000 } },
  { name: "table 100k routes 1M consumers", table: { prefix: "/large", routes: 100_000, consumers: 1_000_000 } },
];
/** Distinct tokens, the same number for each size, so that only the table differs. */
const TOKENS = 5_000;

function tableRequests({ routes, consumers }: Table): string[] {
  return Array.from({ length: TOKENS }, (_, n) => {
    // Steps that are prime to the sizes spread over all of the table.
    const token = signer("HS256", `k${(n * 7_919) % consumers}`, SECRET).token({ exp: inAnHour(), n });
    return `/many/${(n * 7_907) % routes}/x\tBearer ${token}`;
  });
}

/** Gateways with tables of three sizes take turns. What loading and changing costs is measured while they start. */
export const tables: Series = {
  name: "tables",
  cases: SIZES.map(({ name }) => name),
  quick: false,
  missing: etcdMissing,
  async open({ folder, wanted, say }): Promise<Opened> {
    const etcd = await startEtcd(folder);
    const store = openStore(etcd);
    const facts: TableFacts[] = [];
    return {
      runs: SIZES.filter(({ name }) => wanted(name)).map(({ name, table }) => ({
        case: name,
        kind: {
          ...gatewayOn(etcd.url, table.prefix),
          async start(upstream, own) {
            const started = await startOnTable(table, { etcd, store, upstream, folder: own }, say);
            facts.push(started.facts);
            return started.server;
          },
        },
        expect: { status: 200, tokens: "cached" },
        prepare: async (_server, _upstream, own) => requestsFile(own, "table", tableRequests(table)),
      })),
      tables: facts,
      async stop() {
        await store.close();
        await etcd.stop();
      },
    };
  },
};
