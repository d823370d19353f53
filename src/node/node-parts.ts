/**
 * What every process of a node makes of its settings in the same way.
 */
import { join } from "node:path";
import { catalogOf } from "../admin/plugin-catalog.ts";
import { keyringCodec } from "../admin/sealing/keyring-codec.ts";
import type { CheckEnv } from "../admin/write/candidate-check.ts";
import { type Keyring, openKeyring } from "../base/keyring.ts";
import { compileIpSet } from "../base/net/ip.ts";
import { makeStringsFast } from "../base/v8-tuning.ts";
import { type GatewaySettings, trustedWithUnix } from "../gateway/gateway-settings.ts";
import { type ServerCertificateOptions, tlsHostError } from "../gateway/tls/server-certificate.ts";
import { type CacheZone, entryOf, type PluginSettings, type WriteContext } from "../plugin/plugin.ts";
import { observeTokenPlaces, TokenPlaces } from "../plugin/variables/token-places.ts";
import { PLUGINS } from "../plugins/index.ts";
import { loadOwnPlugins } from "../plugins/own/own-plugins.ts";
import { openFields, pluginFieldsOf } from "../runtime/field-opener.ts";
import { openPluginRegistry, type PluginRegistry } from "../runtime/plugins/plugin-registry.ts";
import type { PluginHost } from "../runtime/plugins/plugin-unit.ts";
import type { VerdictChecks } from "../runtime/record-verdict.ts";
import { upstreamError } from "../runtime/upstream/upstream-record.ts";
import { readVersion } from "../settings/instance.ts";
import { processEnvironment, type Settings } from "../settings/settings.ts";

interface NodeParts {
  readonly version: string;
  readonly serverHeader: string;
  readonly pluginSettings: PluginSettings;
  readonly registry: PluginRegistry;
  /** What the access log must not show. */
  readonly tokenPlaces: TokenPlaces;
}

/** @throws CodedError SETTINGS_INVALID for an own plugin that cannot be loaded */
export async function makeParts(settings: Settings): Promise<NodeParts> {
  const version = readVersion();
  const serverHeader = settings.serverHeader ?? `jotgate/${version}`;
  const pluginSettings: PluginSettings = {
    compat: settings.compat,
    serverName: serverHeader,
    environment: processEnvironment(),
    httpsPort: settings.redirect.httpsPort ?? settings.gateway.tls.listen?.port,
    prometheus: prometheusSettings(settings),
    tokenCache: { entries: settings.tokens.cacheEntries, bytes: settings.tokens.cacheBytes },
    deniedAddresses: settings.tokens.denyAddresses,
    nameServers: settings.dns.resolvers,
    signEndpoint: settings.jwtAuth.signEndpoint,
    cache: { ttlMs: settings.proxyCache.cacheTtlMs, zones: cacheZonesOf(settings) },
  };
  const own = await loadOwnPlugins(settings.plugins, PLUGINS);
  makeStringsFast(); // all modules of a worker are loaded, those of plugins aside
  const tokenPlaces = new TokenPlaces();
  const entries = [...PLUGINS, ...own.map(entryOf)].map((entry) => ({
    ...entry,
    load: () => observeTokenPlaces(entry.load(), tokenPlaces),
  }));
  const registry = openPluginRegistry(entries);
  return { version, serverHeader, pluginSettings, registry, tokenPlaces };
}

/** The plugin's part, in the words of the plugin contract. */
function prometheusSettings({ prometheus }: Settings): PluginSettings["prometheus"] {
  const metrics = Object.entries(prometheus.metrics).map(([name, { extra_labels: labels = [], expire = 0 }]) => {
    const extraLabels = labels
      .flatMap(Object.entries<string>)
      .map(([label, variable]) => [label, variable.slice(1)] as const);
    return [name, { extraLabels, expireMs: expire * 1_000 }] as const;
  });
  return { exportUri: prometheus.exportUri, buckets: prometheus.defaultBuckets, metrics: Object.fromEntries(metrics) };
}

function cacheZonesOf({ dataDir, proxyCache }: Settings): readonly CacheZone[] {
  return proxyCache.zones.map(({ name, memoryBytes, diskBytes, diskPath }) => ({
    ...{ name, memoryBytes },
    disk: diskBytes === undefined ? undefined : { bytes: diskBytes, path: diskPath ?? join(dataDir, "cache", name) },
  }));
}

/** How this node's Admin API writes. */
export function writeContextOf(settings: Settings): WriteContext {
  return { compat: settings.compat, cacheZones: cacheZonesOf(settings) };
}

/** undefined: no keyring, fields are stored as they are. */
export function keyringOf({ encryption }: Settings): Keyring | undefined {
  return encryption.keyring.length === 0 ? undefined : openKeyring(encryption.keyring, encryption.format);
}

export function verdictChecksOf(
  settings: Settings,
  registry: PluginRegistry,
): VerdictChecks & Pick<PluginHost, "mayBeMissing"> {
  const { denyAddresses } = settings.upstreams;
  const denied = denyAddresses.length > 0 ? compileIpSet(denyAddresses) : undefined;
  const optional = new Set(settings.pluginsMayBeMissing);
  return {
    registry,
    upstreamError: (record) => upstreamError(record, denied),
    sslError: (value) => tlsHostError(value, tlsOptions(settings)),
    decrypt: openFields(keyringOf(settings), registry, settings.prefix),
    mayBeMissing: (plugin) => optional.has(plugin),
  };
}

/** What judges records as this node's Admin API would. */
export function checkEnvOf(settings: Settings, registry: PluginRegistry): CheckEnv {
  const catalog = catalogOf(registry, writeContextOf(settings), verdictChecksOf(settings, registry));
  const keyring = keyringOf(settings);
  const codec = keyring && keyringCodec(keyring, pluginFieldsOf(registry), settings.prefix, catalog.declared);
  return { catalog, openKey: codec?.openKey ?? (() => undefined) };
}

/** Whose `real_ip.header` counts where no setting says. */
const BELIEVED = ["127.0.0.1", "::1", "unix:"];

/**
 * Translates the settings of a user into what the gateway's listeners are given.
 */
export function gatewaySettings(settings: Settings, serverHeader: string, nodeId: string): Partial<GatewaySettings> {
  const { gateway, limits, realIp, router, trustedAddresses } = settings;
  const shown = gateway.nodeHeader === undefined ? [] : [gateway.nodeHeader, nodeId];
  return {
    ownHeaders: ["Server", serverHeader, ...shown],
    trustedAddresses: trustedAddresses === undefined ? undefined : compileIpSet(trustedAddresses),
    realIpTrusted: trustedWithUnix(realIp.trusted ?? (settings.compat === "strict" ? [] : BELIEVED)),
    realIpAssumed: realIp.trusted === undefined,
    realIpHeader: realIp.header.toLowerCase(),
    realIpRecursive: realIp.recursive,
    showUpstreamStatus: gateway.showUpstreamStatus,
    paths: {
      strict: settings.compat === "strict",
      deleteTailSlash: router.deleteUriTailSlash,
      likeServlet: router.normalizeUriLikeServlet,
      matchEncodedSlash: router.matchUriEncodedSlash,
      keepSpelling: router.upstreamPath === "original",
    },
    fastLane: settings.fastLane,
    headBytes: limits.headBytes,
    targetBytes: limits.targetBytes,
    headerLines: limits.headerLines,
    bodyBytes: limits.bodyBytes ?? 0,
    headTimeoutMs: limits.headTimeoutMs,
    bodiesBytes: limits.bodiesBytes,
    bodyTimeoutMs: limits.bodyTimeoutMs,
    bodyTotalMs: limits.bodyTotalTimeoutMs,
    sendTimeoutMs: limits.sendTimeoutMs,
    idleTimeoutMs: limits.idleTimeoutMs,
    connections: limits.connections,
    connectionsPerAddress: limits.connectionsPerAddress ?? 0,
    upstreamConnections: limits.upstreamConnections,
  };
}

/** How certificates are made of the records below the prefix. */
export function tlsOptions({ gateway, prefix }: Settings): ServerCertificateOptions & { readonly prefix: string } {
  return { minVersion: gateway.tls.minVersion, http2: gateway.tls.http2, prefix };
}
