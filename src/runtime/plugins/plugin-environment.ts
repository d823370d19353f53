/**
 * What this node offers its plugins, made once: tables, metadata, internal APIs beside the parts that are handed in.
 */
import type { Clock } from "../../base/clock.ts";
import { isMembers, type Members } from "../../base/json/members.ts";
import type { Log } from "../../base/log.ts";
import type { Metrics } from "../../base/metrics.ts";
import { withDefaults } from "../../base/schema/schema-defaults.ts";
import type { StoredValue } from "../../model/record.ts";
import type { Counters } from "../../plugin/counters.ts";
import { type InternalApi, internalApisOf } from "../../plugin/internal-api.ts";
import type { ClusterOnce, NodeEnv, PluginSettings, Siblings, StateRegistry } from "../../plugin/plugin.ts";
import type { Credential, CredentialTable } from "../../plugin/plugin-consumer.ts";
import type { Revocations } from "../../plugin/revocations.ts";
import { type AuthorizationServers, NO_SERVERS, NO_TOKENS, type Tokens } from "../../plugin/tokens.ts";
import type { Uses } from "../../plugin/uses.ts";
import { shownVariable, TokenPlaces } from "../../plugin/variables/token-places.ts";
import { compileVariable } from "../../plugin/variables/variables.ts";
import type { Consumers } from "../consumers/consumers.ts";
import type { PluginRegistry } from "./plugin-registry.ts";

export interface EnvironmentParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly states: StateRegistry;
  readonly settings: PluginSettings;
  /** Counters that this node's workers share; absent where there is one process. */
  readonly counters?: Counters | undefined;
  /** The other workers of this node; absent where there is one process. */
  readonly siblings?: Siblings | undefined;
  /** Default: the node has no store to write to. */
  readonly clusterOnce?: ClusterOnce | undefined;
  /** Issuers of tokens; default: none. */
  readonly tokens?: Tokens | undefined;
  /** Issuers that are us; default: none. */
  readonly servers?: AuthorizationServers | undefined;
  /** Where tokens are on this node; without it the places that are known by their names. */
  readonly tokenPlaces?: TokenPlaces | undefined;
}

export interface PluginEnvironment {
  readonly env: NodeEnv;
  readonly metadataCount: number;
  /** @param value without `id`, checked; undefined when the record went */
  setMetadata(plugin: string, value: StoredValue | undefined): void;
  /** Counts the changes of a plugin's metadata. */
  metadataVersion(plugin: string): number;
}

/** @param consumers and records are asked when plugins ask, so they may be opened later */
export function openPluginEnvironment(
  parts: EnvironmentParts,
  registry: PluginRegistry,
  revocations: Revocations,
  uses: Uses,
  consumers: () => Consumers,
  records: NodeEnv["record"],
): PluginEnvironment {
  const metadata = new Map<string, unknown>();
  const versions = new Map<string, number>();
  const places = parts.tokenPlaces ?? new TokenPlaces();
  let apis: ((path: string) => InternalApi | undefined) | undefined;

  const env: NodeEnv = {
    clock: parts.clock,
    log: parts.log,
    metrics: parts.metrics,
    states: parts.states,
    counters: parts.counters,
    siblings: parts.siblings,
    clusterOnce: parts.clusterOnce,
    settings: parts.settings,
    revocations,
    uses,
    tokens: parts.tokens ?? NO_TOKENS,
    servers: parts.servers ?? NO_SERVERS,
    // True: what the plugin's own compile made is asked for by the plugin under its own name.
    credentials: <Data>(plugin: string) => consumers().table(plugin) as CredentialTable as CredentialTable<Data>,
    credentialsOf: <Data>(plugin: string, username: string) =>
      consumers().credentialsOf(plugin, username) as readonly Credential[] as readonly Credential<Data>[],
    consumer: (username) => consumers().find(username),
    consumerByCustomId: (customId) => consumers().findByCustomId(customId),
    record(kind, id) {
      const value = records(kind, id);
      return value && withPluginDefaults(value, kind === "consumer", registry);
    },
    metadata: (plugin) => metadata.get(plugin),
    shown: (name, read = compileVariable(name, parts.clock)) => shownVariable(name, read, places),
    internalApi(path) {
      apis ??= internalApisOf(registry.apiNames.flatMap((name) => registry.get(name)?.internalApis?.(env) ?? []));
      return apis(path);
    },
  };
  return {
    env,
    get metadataCount() {
      return metadata.size;
    },
    setMetadata(plugin, value) {
      const schema = registry.get(plugin)?.metadataSchema;
      if (value === undefined) metadata.delete(plugin);
      else metadata.set(plugin, Object.freeze(schema ? withDefaults(schema, value) : value));
      versions.set(plugin, (versions.get(plugin) ?? 0) + 1);
    },
    metadataVersion: (plugin) => versions.get(plugin) ?? 0,
  };
}

function withPluginDefaults(value: Members, isConsumer: boolean, registry: PluginRegistry): Members {
  const { plugins } = value;
  if (!isMembers(plugins)) return value;
  const filled = Object.entries(plugins).map(([name, conf]) => {
    const plugin = registry.get(name);
    const schema = (isConsumer ? plugin?.credential?.schema : undefined) ?? plugin?.schema;
    return [name, schema && isMembers(conf) ? withDefaults(schema, conf) : conf];
  });
  return { ...value, plugins: Object.fromEntries(filled) };
}
