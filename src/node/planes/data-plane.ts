/**
 * The gateway half of one process: store → table → live configuration → listener, with everything a request needs.
 * Promise: it starts from the last-known-good file where there is one, serves while the store is away, and never waits
 * for the store to start or to stop.
 */
import { isDeepStrictEqual } from "node:util";
import { type Clock, sleep } from "../../base/clock.ts";
import { type Log, unfailing } from "../../base/log.ts";
import type { Counter, Family, Metrics } from "../../base/metrics.ts";
import { makeDnsLookup } from "../../base/net/dns-lookup.ts";
import { compileIpSet } from "../../base/net/ip.ts";
import type { RecordRefusal } from "../../cluster/acknowledge.ts";
import type { Freshness } from "../../gateway/gateway-context.ts";
import { type GatewayServer, openGatewayServer } from "../../gateway/gateway-server.ts";
import { makeProbe } from "../../gateway/health-probe.ts";
import { openAccessLog } from "../../gateway/log/access-log.ts";
import { openPlainGuard } from "../../gateway/tls/plain-guard.ts";
import { openTlsCertificates } from "../../gateway/tls/tls-certificates.ts";
import type { ExplainQuery } from "../../model/explain-query.ts";
import type { Counters } from "../../plugin/counters.ts";
import type { PluginSettings, Siblings } from "../../plugin/plugin.ts";
import type { TokenPlaces } from "../../plugin/variables/token-places.ts";
import { openFields } from "../../runtime/field-opener.ts";
import { openLive } from "../../runtime/live.ts";
import type { LiveConfiguration } from "../../runtime/live-configuration.ts";
import type { PluginRegistry } from "../../runtime/plugins/plugin-registry.ts";
import type { Problem } from "../../runtime/problems.ts";
import { compileChecks } from "../../runtime/record-checks.ts";
import { openStates } from "../../runtime/shared-states.ts";
import { openDns } from "../../runtime/upstream/dns/dns.ts";
import type { Probe } from "../../runtime/upstream/health/node-health.ts";
import { withoutDenied } from "../../runtime/upstream/target-list.ts";
import { openUpstreams, type Upstreams } from "../../runtime/upstream/upstreams.ts";
import { openSecrets } from "../../secret/resolver.ts";
import type { Settings } from "../../settings/settings.ts";
import type { Revision, Store, StoreSource } from "../../store/store.ts";
import type { LastKnownGoodStatus, SavedPosition } from "../../sync/sync-status.ts";
import type { Table } from "../../sync/table.ts";
import type { Watcher } from "../../sync/watcher.ts";
import type { IssuerStatus } from "../../token/issuer-facts.ts";
import { openIssuers } from "../../token/issuers.ts";
import { type KeyFeed, NO_KEYS } from "../../token/key-feed.ts";
import { countSigners, openSigningKeys } from "../../token/signing-keys.ts";
import type { ModifyIndexes } from "../control-facts.ts";
import { keyFacts, keyProblems, openNodeKeys, serverProblems } from "../node-keys.ts";
import { gatewaySettings, keyringOf, tlsOptions } from "../node-parts.ts";
import { followStore, type Membership } from "../store-follower.ts";

export interface DataPlaneOptions {
  readonly settings: Settings;
  readonly source: StoreSource;
  readonly registry: PluginRegistry;
  readonly pluginSettings: PluginSettings;
  /** What the access log must not show; filled as plugins are compiled. */
  readonly tokenPlaces: TokenPlaces;
  /** The node's own folder. */
  readonly folder: string;
  readonly serverHeader: string;
  readonly nodeId: string;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  /** Absent: this process is a worker, and its primary speaks for the node. */
  readonly membership?: Membership | undefined;
  /** What a worker shares with the others of its node; absent where there is one process. */
  readonly shared?: SharedParts | undefined;
}

interface SharedParts {
  readonly counters: Counters;
  readonly siblings: Siblings;
  readonly probe: Probe;
  /** Keys of issuers, which the primary fetches. */
  readonly keys: KeyFeed;
  /** Probes are counted where they are made. */
  readonly probes: Family<Counter>;
  readonly onApplied: (revision: Revision) => void;
  /** Fills the table from the primary; see `FollowOptions`. */
  readonly inherit: (table: Table) => Promise<SavedPosition | undefined>;
  /** Resolves when the listeners may be opened. */
  beforeListening(watcher: Watcher): Promise<void>;
}

export interface DataPlane {
  readonly live: LiveConfiguration;
  readonly watcher: Watcher;
  readonly table: Table;
  readonly upstreams: Upstreams;
  readonly server: GatewayServer;
  /** Wall time of the last change of a record; undefined before the first. */
  changedAtMs(): number | undefined;
  /** How the last-known-good file is doing. */
  copy(): LastKnownGoodStatus | undefined;
  modifyIndexes(): ModifyIndexes;
  /** What it would do with a request, at which revision; text: what is wrong with the question. */
  explain(query: ExplainQuery): Promise<Readonly<Record<string, unknown>> | string>;
  /** Of this process; a worker has none. */
  issuers(): readonly IssuerStatus[];
  /** The newest certificates that were not taken, those included whose values are under way. */
  certificateRefusals(): Promise<readonly RecordRefusal[]>;
  /** What is wrong with records, certificates included. */
  problems(): readonly Problem[];
  /** See `Follower.join`. */
  join(): Promise<void>;
  /** Serves by these settings from now on. @throws the system's error when the access log cannot be opened; nothing has changed then */
  configure(settings: Settings): void;
  /** Its listeners end; see `GatewayServer`. */
  stopAccepting(isLast: boolean): Promise<void>;
  /** Stops accepting, finishes what runs within `drainMs`, writes the file, leaves the registry. */
  close(drainMs: number, quietMs?: number): Promise<void>;
}

export async function openDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  const { settings, source, registry, metrics, clock } = options;
  const log = unfailing(options.log); // no change of the configuration may depend on it
  const { prefix } = settings;
  const states = openStates(clock);
  const { denyAddresses } = settings.upstreams;
  const denied = denyAddresses.length > 0 ? compileIpSet(denyAddresses) : undefined;
  const lookup = makeDnsLookup({ servers: settings.dns.resolvers, timeoutMs: settings.dns.timeoutMs });
  const dns = openDns({
    clock,
    log,
    metrics,
    lookup: withoutDenied(lookup, denied),
    timeoutMs: settings.dns.timeoutMs,
  });
  const resolver = openSecrets({
    environment: options.pluginSettings.environment,
    clock,
    log,
    metrics,
    limits: { denied: settings.secrets.denyAddresses, nameServers: settings.dns.resolvers },
    allowEnv: settings.secrets.allowEnv,
  });
  const upstreams = openUpstreams({
    clock,
    log,
    metrics,
    states,
    dns,
    probe: options.shared?.probe ?? makeProbe(clock),
    probes: options.shared?.probes,
    siblings: options.shared?.siblings,
    denied,
    certificate: (id) => live.clientCertificate(id),
  });
  const keepers = options.shared ? undefined : await openNodeKeys(options, options.membership?.id ?? "");
  const servers = openSigningKeys(clock);
  countSigners(metrics, servers);
  const issuers = openIssuers(options.shared?.keys ?? keepers ?? NO_KEYS, clock, servers);
  let store: Store | undefined;
  const live = openLive({
    prefix,
    mode: settings.router.mode,
    registry,
    secrets: resolver,
    upstreams,
    issuers,
    servers,
    clock,
    log,
    metrics,
    states,
    settings: options.pluginSettings,
    counters: options.shared?.counters,
    siblings: options.shared?.siblings,
    tokenPlaces: options.tokenPlaces,
    mayBeMissing: new Set(settings.pluginsMayBeMissing),
    keepRevokedMs: settings.tokens.keepRevokedMs,
    notesUses: settings.usage.intervalMs !== undefined,
    revoking: {
      most: settings.tokens.maxRevocations,
      store() {
        store ??= source.open();
        return store;
      },
    },
    decrypt: openFields(keyringOf(settings), registry, prefix),
  });

  const { tls } = settings.gateway;
  const certificates = tls.listen
    ? openTlsCertificates({ ...tlsOptions(settings), source: live, secrets: resolver, clock, log, metrics })
    : undefined;

  const judged = async (): Promise<void> => {
    const late = new AbortController();
    const clients = Promise.race([live.clientCertificatesSettled(), sleep(clock, JUDGED_WITHIN_MS, late.signal)]);
    await Promise.all([clients, certificates?.settled(JUDGED_WITHIN_MS)]);
    late.abort();
  };
  const plainGuard = settings.gateway.mtlsOverPlain ? undefined : openPlainGuard(live);

  await compileChecks();
  const follower = await followStore({
    ...{ settings, source, folder: options.folder, membership: options.membership, clock, log },
    consumer: live,
    judged,
    refusals: () => [...live.refusals(), ...(certificates?.refusals() ?? [])],
    series: metrics,
    takeUses: () => live.uses.take(Number.POSITIVE_INFINITY),
    onApplied: options.shared?.onApplied,
    inherit: options.shared?.inherit,
  });
  await options.shared?.beforeListening(follower.watcher);
  const freshness = watchFreshness(follower.watcher, settings.maxStaleMs, clock);
  const openLines = (how: Settings["accessLog"]) =>
    openAccessLog({ ...how, places: options.tokenPlaces, clock, log, metrics });
  let lines = { how: settings.accessLog, log: openLines(settings.accessLog) };
  const server = await openGatewayServer({
    routing: live,
    freshness,
    listen: settings.gateway.listen,
    plainGuard,
    tls: tls.listen && certificates ? { listen: tls.listen, certificates, fallbackSni: tls.fallbackSni } : undefined,
    accessLog: lines.log,
    uses: live.uses,
    settings: gatewaySettings(settings, options.serverHeader, options.nodeId),
    metrics,
    clock,
    log,
  });
  const { watcher, table, changedAtMs, copy, modifyIndexes } = follower;
  return {
    live,
    watcher,
    table,
    upstreams,
    server,
    changedAtMs,
    copy,
    modifyIndexes,
    join: follower.join,
    async explain(query) {
      const shown = await server.explain(query);
      return typeof shown === "string" ? shown : { ...shown, revision: Number(live.revision) };
    },
    async certificateRefusals() {
      await judged();
      const refused = [...live.clientCertificateRefusals(), ...(certificates?.refusals() ?? [])];
      return refused.map(({ key, revision, reason }) => ({ key, revision, reason }));
    },
    issuers: () => (keepers ? keyFacts(keepers) : []),
    problems: () => [
      ...live.problems(),
      ...(certificates?.problems() ?? []),
      ...(keepers ? keyProblems(keepers, prefix) : []),
      ...serverProblems(servers, prefix),
    ],
    configure(next) {
      const former = lines;
      if (!isDeepStrictEqual(next.accessLog, former.how))
        lines = { how: next.accessLog, log: openLines(next.accessLog) };
      server.configure(gatewaySettings(next, options.serverHeader, options.nodeId), lines.log);
      if (lines !== former) void former.log?.close();
    },
    stopAccepting: (isLast) => server.stopAccepting(isLast),
    async close(drainMs, quietMs) {
      await follower.leave();
      await server.close(drainMs, quietMs);
      freshness.stop();
      await lines.log?.close();
      await follower.stop();
      certificates?.close();
      plainGuard?.close();
      live.close();
      await store?.close();
      issuers.close();
      await keepers?.close();
      upstreams.close();
      dns.close();
      resolver.close();
      await states.close();
    },
  };
}

/** An acknowledgement waits this long for values that certificates refer to: less than who waits for all by default. */
const JUDGED_WITHIN_MS = 1_500;

/** How often the age of the configuration is compared with `max_stale`. */
const FRESHNESS_EVERY_MS = 250;

/** Knows whether there is a configuration, and refuses authenticated traffic once the store was silent for longer than `maxStaleMs`; undefined: never. */
function watchFreshness(watcher: Watcher, maxStaleMs: number | undefined, clock: Clock): Freshness & { stop(): void } {
  const freshness = {
    isTooOld: false,
    get isLoaded(): boolean {
      return watcher.isLoaded;
    },
    stop: (): void => undefined,
  };
  if (maxStaleMs === undefined) return freshness;
  const timer = clock.every(FRESHNESS_EVERY_MS, () => {
    freshness.isTooOld = watcher.facts().stalenessSeconds * 1_000 > maxStaleMs;
  });
  freshness.stop = () => timer.cancel();
  return freshness;
}
