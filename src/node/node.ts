/**
 * The composition root: puts the planes of a role together, opens its listeners, and takes all of it down again. What a
 * role or a setting may leave out is loaded where it is opened.
 * Promise: whatever was started is stopped in the opposite order, also when a later part failed to start.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { systemClock } from "../base/clock.ts";
import { type Log, openLog } from "../base/log.ts";
import { countLogLines, LogSink } from "../base/log-sink.ts";
import type { Metrics } from "../base/metrics.ts";
import { makeStringsFast } from "../base/v8-tuning.ts";
import type { NodeReport } from "../cluster/registry.ts";
import { instanceFolder, instanceName } from "../settings/instance.ts";
import { type Address, formatAddress } from "../settings/setting-kinds.ts";
import type { Settings } from "../settings/settings.ts";
import type { Role } from "../settings/settings-check.ts";
import type { StatusListener } from "../status/listener.ts";
import type { OperatorSource } from "../status/operator-routes.ts";
import type { ListenerInfo, NodeSource } from "../status/status-facts.ts";
import { collectNodeMetrics, collectProcessMetrics } from "../status/status-metrics.ts";
import { readAdminKeys } from "./admin-keys.ts";
import { bannerText } from "./banner.ts";
import { controlFacts } from "./control-facts.ts";
import { containLateErrors } from "./late-errors.ts";
import { listenerFacts, nodeFacts, operatorFacts, STARTING, type StoreProbe, startStoreProbe } from "./node-facts.ts";
import { openNodeMetrics } from "./node-metrics.ts";
import { checkEnvOf, keyringOf, makeParts } from "./node-parts.ts";
import type { AdminPlane } from "./planes/admin-plane.ts";
import { openServing, type Serving } from "./serving.ts";
import { openSource } from "./store-source.ts";

interface StartOptions {
  readonly role: Role;
  readonly settings: Settings;
  readonly print: (text: string) => void;
}

interface StartedNode {
  readonly log: Log;
  /** Drains and ends; idempotent. */
  stop(reason: string): Promise<void>;
  /**
   * Runs with these settings from now on; they differ in what can change without a restart. Workers are replaced one after
   * another. @returns what of it cannot be seen in the settings. @throws what is wrong; all is as before then
   */
  reload(settings: Settings): Promise<{ readonly hasNewTls: boolean; readonly workers: number }>;
  /** The exit code, once the node ended. */
  readonly done: Promise<number>;
}

/** How long a node that turned unready waits for load balancers to notice before it stops accepting. */
const UNREADY_MS = { etcd: 1_000, file: 1_000, embedded: 200 } as const; // balancers probe every half second or so

/** @throws CodedError SETTINGS_INVALID, STORE_UNAVAILABLE; the system's error when an address is taken */
export async function startNode(options: StartOptions): Promise<StartedNode> {
  const { role, settings } = options;
  const clock = systemClock;
  const id = `${instanceName(role, settings)}-${hostname()}-${randomUUID().slice(0, 8)}`;
  const sink = new LogSink({ clock });
  const log = openLog({ level: settings.log.level, node: id, sink });
  const metrics = openNodeMetrics(settings, log);
  countLogLines(metrics, sink);
  const stopContaining = containLateErrors({
    ...{ modules: settings.plugins, log, sink, metrics, clock },
    exit: process.exit,
  });
  const { version, serverHeader, pluginSettings, registry, tokenPlaces } = await makeParts(settings);
  const listeners: ListenerInfo[] = [];
  const stops: (() => unknown)[] = [stopContaining];
  let draining = false;

  const takeDown = async (): Promise<void> => {
    for (const stop of stops.splice(0).reverse()) await stop();
  };

  try {
    const opened = await openSource(settings, clock, log, () => checkEnvOf(settings, registry));
    stops.push(() => opened.close());
    const { source } = opened;
    const hasAdmin = role !== "gateway" && source.kind !== "file";
    const keys = !hasAdmin ? undefined : readAdminKeys(settings, source.kind === "embedded");
    let joining: Serving | undefined;
    let serving: Serving | undefined;
    let probe: StoreProbe | undefined;
    const facts = nodeFacts({
      ...{ id, role, version, settings, store: source.kind, clock },
      listeners: () => listeners,
      workers: () => serving?.workers() ?? [],
      draining: () => draining,
      modifyIndexes: () => serving?.modifyIndexes() ?? {},
      issuers: () => serving?.issuers() ?? [],
      config: () => serving?.config() ?? probe?.config() ?? STARTING,
      waitApplied: (revision, waitMs) => serving?.waitApplied(revision, waitMs) ?? Promise.resolve(false),
    });

    const operators = (): OperatorSource => {
      const store = source.open();
      stops.push(() => store.close());
      return operatorFacts({ id, store, settings, clock, serving: () => serving });
    };

    // First up and last down: probes and scrapers are answered while the rest starts and while it drains.
    collectProcessMetrics(metrics);
    collectNodeMetrics(metrics, facts);
    const status = settings.status.listen
      ? await openStatusListener(settings.status.listen, settings, facts, metrics, {
          serving: () => serving,
          operators: role === "admin" ? undefined : operators(),
        })
      : undefined;
    if (status) {
      stops.push(() => status.stop());
      listeners.push(listenerFacts("status", status.address));
    }
    if (settings.control.listen) {
      const { openControl } = await import("../status/control-server.ts");
      const control = await openControl({
        listen: settings.control.listen,
        hosts: [...settings.control.hosts, settings.control.listen.host],
        facts: controlFacts({
          id,
          version: facts.apisixVersion,
          registry,
          prefix: settings.prefix,
          startedMs: facts.startedAtMs,
          keyring: keyringOf(settings),
          serving: () => serving,
        }),
      });
      stops.push(() => control.stop());
      listeners.push(listenerFacts("control", control.address));
    }

    let admin: AdminPlane | undefined;
    if (keys) {
      const { openAdminPlane } = await import("./planes/admin-plane.ts");
      const opening = openAdminPlane({
        ...{ settings, source, registry, keys: keys.keys, serverHeader, clock, log },
        isTerminal: process.stdout.isTTY === true,
      });
      const opened = await opening;
      admin = opened;
      stops.push(() => opened.close());
      listeners.push(listenerFacts("admin", opened.address, settings.admin.tls.cert !== undefined));
      if (role === "admin") {
        const started = startStoreProbe(opened.store, `${settings.prefix}/jotgate/store`, clock);
        probe = started;
        stops.push(() => started.stop());
      }
    }
    if (role !== "admin") {
      const report = (): NodeReport => {
        const { config = () => STARTING, workers = () => [] } = joining ?? {};
        return reportOf({ ...facts, config, workers }, settings);
      };
      const folder = instanceFolder(role, settings);
      const shared = {
        settings,
        source,
        registry,
        pluginSettings,
        tokenPlaces,
        folder,
        serverHeader,
        nodeId: id,
        metrics,
        clock,
        log,
      };
      const opened = await openServing({ ...shared, version, membership: { id, report } });
      joining = opened;
      stops.push(() => opened.close(settings.drainTimeMs));
      // Ready only then: whoever waits for all nodes waits for every node that balancers send traffic to.
      await opened.join();
      serving = opened;
      if (opened.plain) listeners.push(listenerFacts("gateway", opened.plain));
      if (opened.tls) listeners.push(listenerFacts("gateway-tls", opened.tls, true));
    }
    makeStringsFast(); // all that this role needs is loaded
    options.print(
      bannerText({
        ...{ version, settings, keys, store: source.kind },
        gateway: serving?.plain,
        gatewayTls: serving?.tls,
        admin: admin?.address,
        consoleToken: admin?.consoleToken(),
        status: status?.address,
      }),
    );

    let finish: (code: number) => void = () => undefined;
    const done = new Promise<number>((resolve) => {
      finish = resolve;
    });
    let stopping: Promise<void> | undefined;
    return {
      ...{ log, done },
      async reload(next) {
        const nextKeys = keys && readAdminKeys(next, source.kind === "embedded");
        const commit = admin?.prepare(next, nextKeys?.keys ?? []);
        await serving?.reload(next);
        log.setLevel(next.log.level);
        const { hasNewTls } = commit?.() ?? { hasNewTls: false };
        return { hasNewTls, workers: serving?.workers().filter(({ state }) => state === "serving").length ?? 0 };
      },
      stop(reason) {
        stopping ??= (async () => {
          log.info({ reason }, "stopping");
          draining = true;
          serving?.beginDrain();
          if (serving) await new Promise<void>((resolve) => void clock.after(UNREADY_MS[facts.store], resolve));
          await takeDown();
          finish(0);
        })();
        return stopping;
      },
    };
  } catch (error) {
    await takeDown();
    throw error;
  }
}

async function openStatusListener(
  listen: Address,
  { prometheus, status }: Settings,
  facts: NodeSource,
  metrics: Metrics,
  {
    serving,
    operators,
  }: { readonly serving: () => Serving | undefined; readonly operators: OperatorSource | undefined },
): Promise<StatusListener> {
  const { openStatus } = await import("../status/status-server.ts");
  return openStatus({
    listen,
    hosts: [...status.hosts, listen.host, ...(status.advertise ? [status.advertise.host] : [])],
    exportUri: prometheus.exportUri,
    facts,
    health: async () => (await serving()?.health()) ?? [],
    metrics: () => serving()?.metrics() ?? metrics.chunks(),
    metricsType: metrics.registry.contentType,
    nowMs: () => systemClock.nowMs(),
    operators,
  });
}

/** What a node says of itself in the registry. */
function reportOf(facts: NodeSource, settings: Settings): NodeReport {
  const config = facts.config();
  const status = settings.status.advertise ?? facts.listeners().find(({ name }) => name === "status")?.address;
  return {
    version: facts.version,
    address: status ? formatAddress(status) : "",
    startedMs: facts.startedAtMs,
    workers: Math.max(1, facts.workers().length),
    applied: String(config.appliedRevision),
    stalenessSeconds: Math.round(config.stalenessSeconds),
    problems: config.problems.length,
    hash: config.hash,
  };
}
