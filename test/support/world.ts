/**
 * A whole cluster under load, to break things in: etcd, admins, gateways, an upstream, open-loop callers, a writer, and the
 * judges of what became of it all. Every process is started and ended by its id.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import type { Store } from "../../src/store/store.ts";
import { checkLedger, checkNodes, checkOrder, checkSamples } from "./checker.ts";
import { type Ends, openWithEnds } from "./endings.ts";
import { type EtcdCluster, type EtcdOptions, startEtcd } from "./etcd.ts";
import { reportFault } from "./fault-report.ts";
import { followHistory, type History, listAll, openDirect } from "./history.ts";
import { Ledger, recordOf, startWriter, type Writer } from "./ledger.ts";
import { type Load, startLoad } from "./load.ts";
import { slack } from "./long-run.ts";
import { type Node, type NodeOptions, startNode, until, untilReady } from "./process.ts";
import { type Relay, startRelay } from "./relay.ts";
import { configOf, type NodeConfig } from "./scrape.ts";

export interface WorldOptions {
  readonly members?: 1 | 3;
  readonly gateways?: number;
  readonly admins?: number;
  readonly etcdArgs?: readonly string[];
  /** Where etcd runs, when not on loopback. */
  readonly netns?: EtcdOptions["netns"];
  /** Gateways reach each member through a relay of its own. */
  readonly relay?: boolean;
  /** Admins reach the first member through a relay of their own. */
  readonly adminRelay?: boolean;
  /** Requests per second to each gateway; 0: no load. Default 100. */
  readonly rate?: number;
  /** Pause between two writes; undefined: no writer. Default 25 ms. */
  readonly writeEveryMs?: number | undefined;
  readonly gatewayArgs?: readonly string[];
  /** Worker processes of each gateway; default 1. */
  readonly workers?: number;
  /** Further arguments of gateway `i`. */
  readonly argsOf?: (i: number) => readonly string[];
}

export interface Fault {
  readonly name: string;
  readonly how: string;
  readonly guarantees: string;
  /** Breaks something, and returns when it is time to heal. */
  readonly inject: () => Promise<unknown>;
  readonly heal?: () => unknown;
  /** Longest time from healing until all nodes are in step; default 5 s, the bound of G5. */
  readonly freshMs?: number;
  /** Further figures for the table, asked for at its end. */
  readonly note?: () => string;
}

export interface World {
  readonly etcd: EtcdCluster;
  readonly relays: readonly Relay[];
  /** Undefined without the option. */
  readonly adminRelay: Relay | undefined;
  readonly admins: Node[];
  readonly gateways: Node[];
  readonly ledger: Ledger;
  readonly history: History;
  readonly store: Store;
  readonly load: Load;
  readonly upstreamPort: number;
  readonly upstreamSeen: number;
  /** What each gateway process said of itself, about five times a second: a list for each process there was. */
  readonly samples: readonly (readonly NodeConfig[])[];
  /** Kills admin `i` and starts it again on its port. */
  restartAdmin(i: number): Promise<void>;
  /** Starts gateway `i` again, after it was ended, on its ports and data. */
  startGateway(i: number, options?: Pick<NodeOptions, "nowait" | "args">): Promise<Node>;
  /** The data folder of gateway `i`. */
  dataOf(i: number): string;
  /** Runs one fault to its end, reports it. @returns what was wrong, and the time to fresh */
  run(fault: Fault): Promise<FaultResult>;
  /** Every node has applied everything up to a write made now. */
  inStep(limitMs?: number): Promise<void>;
  pauseWriter(): Promise<void>;
  resumeWriter(): void;
  /** Ends load and writer and applies all rules. @returns what broke them */
  judge(): Promise<string[]>;
  close(): Promise<void>;
}

export interface FaultResult {
  readonly freshMs: number;
  readonly failed: readonly string[];
}

const SAMPLE_MS = 200;
/** Many start at the same time. */
const START_MS = 120_000;
const LOAD_ROUTE = "load";

export async function openWorld(options: WorldOptions = {}): Promise<World> {
  const { members = 1, gateways: gatewayCount = 2, admins: adminCount = 1, rate = 100 } = options;
  const writeEveryMs = "writeEveryMs" in options ? options.writeEveryMs : 25;
  return openWithEnds(open);

  async function open(ends: Ends, close: () => Promise<void>): Promise<World> {
    let upstreamSeen = 0;
    const upstream = await startUpstream(() => upstreamSeen++);
    ends.push(() => closeServer(upstream));
    const upstreamPort = portOf(upstream);
    const etcd = await startEtcd({
      members,
      extraArgs: options.etcdArgs ?? [],
      ...(options.netns ? { netns: options.netns } : {}),
    });
    ends.push(() => etcd.stop());
    const relays = options.relay ? await Promise.all(etcd.endpoints.map((endpoint) => startRelay(endpoint))) : [];
    for (const relay of relays) ends.push(() => relay.stop());
    const adminRelay = options.adminRelay ? await startRelay(etcd.endpoints[0] ?? "") : undefined;
    ends.push(() => adminRelay?.stop());
    const adminHosts = adminRelay ? [adminRelay.endpoint] : etcd.endpoints;
    const store = openDirect(etcd.endpoints);
    ends.push(() => store.close());
    const history = await followHistory(etcd.endpoints);
    ends.push(() => history.stop());

    const folder = mkdtempSync(join(tmpdir(), "jotgate-world-"));
    ends.push(() => rmSync(folder, { recursive: true, force: true }));
    const admins: Node[] = [];
    const gateways: Node[] = [];
    ends.push(() => Promise.all([...admins, ...gateways].map((node) => node.stop("SIGKILL"))));
    const hosts = options.relay ? relays.map(({ endpoint }) => endpoint) : etcd.endpoints;
    const args = ["--workers", String(options.workers ?? 1), ...(options.gatewayArgs ?? [])];
    const folders = Array.from({ length: gatewayCount }, (_, i) => join(folder, `gateway-${i}`));
    const starting = folders.map(async (dataDir, i) => {
      const own = [...args, ...(options.argsOf?.(i) ?? [])];
      const node = await startNode("gateway", { etcd: hosts, args: own, dataDir, nowait: true });
      gateways[i] = node;
      await untilReady(node, START_MS);
    });
    const startAdmin = async (i: number): Promise<void> => {
      const node = await startNode("admin", { etcd: adminHosts, dataDir: folder, nowait: true });
      admins[i] = node;
      await untilReady(node, START_MS);
    };
    for (let i = 0; i < adminCount; i++) starting.push(startAdmin(i));
    await Promise.all(starting);
    const ledger = new Ledger();
    await until("the load route is written", async () => {
      const written = await ledger.write(admins[0] as Node, "put", `/routes/${LOAD_ROUTE}`, {
        uri: "/load/*",
        upstream: { type: "roundrobin", nodes: { [`127.0.0.1:${upstreamPort}`]: 1 } },
      });
      if (written.outcome !== "done") throw new Error(written.text); // a busy etcd may be late
      return true;
    });
    for (const node of gateways)
      await until("the load route", async () => (await fetch(`${node.gateway}/load/first`)).ok);

    const load = startLoad({
      targets: rate > 0 ? gateways.map((node, i) => ({ name: `gateway ${i}`, origin: node.gateway })) : [],
      rate: Math.max(1, rate),
      request: (n) => ({ path: `/load/${n}` }),
      judge: ({ n, status, body }) =>
        status === 200 && body === `/load/${n}` ? undefined : `status ${status}: ${body.slice(0, 200)}`,
    });
    ends.push(() => load.stop());
    const newWriter = (): Writer | undefined =>
      writeEveryMs === undefined ? undefined : startWriter(ledger, "w", () => admins[0] as Node, writeEveryMs);
    let writer = newWriter();
    ends.push(() => writer?.stop());
    const samples: NodeConfig[][] = [];
    const samplesOf = new Map<Node, NodeConfig[]>();
    const listOf = (node: Node): NodeConfig[] => {
      const known = samplesOf.get(node);
      if (known) return known;
      const list: NodeConfig[] = [];
      samples.push(list);
      samplesOf.set(node, list);
      return list;
    };
    const asked = new Set<Node>(); // one question at a time: of two, the later may be answered first
    const sampler = systemClock.every(SAMPLE_MS, () => {
      for (const node of gateways) {
        if (asked.has(node)) continue;
        asked.add(node);
        const list = listOf(node); // of the process that is asked, even when another takes its place meanwhile
        configOf(node)
          .then(
            (config) => list.push(config),
            () => undefined, // a node that was stopped on purpose
          )
          .finally(() => asked.delete(node));
      }
    });
    ends.push(() => sampler.cancel());

    const inStep = async (limitMs = 20_000): Promise<void> => {
      const head = Number(await history.caughtUp());
      for (const node of gateways)
        await until(
          `${node.status} at revision ${head}`,
          async () => {
            const config = await configOf(node);
            return config.revision >= head && config.fresh && config.store_problem === null;
          },
          limitMs,
        );
    };

    return {
      ...{
        etcd,
        relays,
        adminRelay,
        admins,
        gateways,
        ledger,
        history,
        store,
        load,
        upstreamPort,
        samples,
        inStep,
        close,
      },
      get upstreamSeen() {
        return upstreamSeen;
      },
      async restartAdmin(i) {
        const old = admins[i] as Node;
        await old.stop("SIGKILL");
        const node = await startNode("admin", {
          etcd: adminHosts,
          dataDir: folder,
          ports: { admin: portOfUrl(old.admin) },
          nowait: true,
        });
        admins[i] = node;
        await untilReady(node, START_MS);
      },
      dataOf: (i) => folders[i] ?? "",
      async startGateway(i, given = {}) {
        const old = gateways[i] as Node;
        const ports = { gateway: portOfUrl(old.gateway), status: portOfUrl(old.status) };
        const all = [...args, ...(options.argsOf?.(i) ?? []), ...(given.args ?? [])];
        const node = await startNode("gateway", {
          etcd: hosts,
          dataDir: folders[i] ?? "",
          ports,
          args: all,
          nowait: true, // it is sampled as itself from its first moment
        });
        gateways[i] = node;
        if (!given.nowait) await untilReady(node, START_MS);
        return node;
      },
      async run(fault) {
        const before = { sent: load.sent, failed: load.failed };
        try {
          await fault.inject();
        } finally {
          await fault.heal?.(); // whatever went wrong: the next test, or the next try, finds a whole world
        }
        const healedMs = performance.now();
        const probe = await until(
          "a write after the fault",
          async () => {
            const entry = await ledger.write(admins[0] as Node, "put", "/routes/probe", recordOf("/probe"));
            return entry.outcome === "done" ? entry : undefined;
          },
          30_000,
        );
        await until("all nodes in step", () => allApplied(gateways, history, probe.nonce), 30_000, 10);
        const freshMs = performance.now() - healedMs;
        await inStep();
        const failed = load.failures.slice(before.failed).map((one) => `${one.target} #${one.n}: ${one.wrong}`);
        const bound = slack(fault.freshMs ?? 5_000);
        if (freshMs > bound) failed.push(`in step after ${freshMs.toFixed(0)} ms, not ${bound}`);
        reportFault({
          fault: fault.name,
          how: fault.how,
          sent: load.sent - before.sent,
          failed: load.failed - before.failed,
          freshMs,
          guarantees: fault.guarantees,
          held: failed.length === 0,
          ...(fault.note ? { note: fault.note() } : {}),
        });
        return { freshMs, failed };
      },
      async pauseWriter() {
        await writer?.stop();
      },
      resumeWriter() {
        writer = newWriter();
      },
      async judge() {
        await writer?.stop();
        await load.stop();
        await inStep();
        const final = await listAll(store);
        return [
          ...load.failures.map((one) => `${one.target} #${one.n}: ${one.wrong}`),
          ...checkLedger(ledger.entries, history, final),
          ...checkOrder(
            ledger.entries.filter(({ key }) => key.includes("/w-")),
            history,
          ),
          ...(await checkNodes(gateways, final)),
          ...samples.flatMap(checkSamples),
        ];
      },
    };
  }
}

/** Whether every node has applied the revision that holds this nonce. */
async function allApplied(nodes: readonly Node[], history: History, nonce: string): Promise<boolean> {
  const event = history.events.findLast(({ value }) => value?.includes(nonce));
  if (!event) return false;
  const configs = await Promise.all(nodes.map(configOf));
  return configs.every((config) => BigInt(config.revision) >= event.revision);
}

/** Answers with the path it was asked for; keeps connections longer than any gateway does. */
async function startUpstream(seen: () => void): Promise<Server> {
  const server = createServer((request, response) => {
    seen();
    request.resume();
    response.end(request.url);
  });
  server.keepAliveTimeout = 600_000;
  server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }); // a full queue resets connections
  await new Promise((resolve) => server.once("listening", resolve));
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : 0;
}

function portOfUrl(url: string): number {
  return Number(new URL(url).port);
}

function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
