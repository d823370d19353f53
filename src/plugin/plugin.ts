/**
 * The plugin contract: a plugin is one file that describes its configuration and compiles it, when configuration
 * changes, into plain functions that run per request. It never knows which lane carries the request.
 */
import { type Static, type TSchema, Type } from "typebox";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Counters } from "./counters.ts";
import type { ExplainHandler, ExplainRule } from "./explanation.ts";
import type { InternalApi } from "./internal-api.ts";
import type { Answer } from "./plugin-answer.ts";
import type { Consumer, Credential, CredentialTable } from "./plugin-consumer.ts";
import type { RequestView } from "./request-view.ts";
import type { ResponseView } from "./response-view.ts";
import type { Revocations } from "./revocations.ts";
import type { AuthorizationServers, Tokens } from "./tokens.ts";
import type { Uses } from "./uses.ts";
import type { Variable } from "./variables/query.ts";

export type PhaseResult = Answer | undefined | Promise<Answer | undefined>;
/** Return an answer to end the request, undefined to go on; a promise only when something is truly waited for. */
export type PhaseHandler = (view: RequestView) => PhaseResult;

/** What a compiled plugin does in each phase; absent phases cost nothing. Functions must not depend on `this`. */
export interface PluginPhases {
  /** Before access: authentication, rewriting, early answers. */
  readonly rewrite?: PhaseHandler;
  /** Removes from a request what only this plugin may tell the upstream; for who asks another plugin in its place. */
  readonly distrust?: (view: RequestView) => void;
  /** What anybody may read, before callers are judged; its own rewrite asks it first, multi-auth before any of its plugins. */
  readonly publish?: (view: RequestView) => Answer | undefined;
  readonly access?: PhaseHandler;
  /** Before each try, retries included. */
  readonly beforeProxy?: (view: RequestView) => void;
  /** Once, when the head of the response is known (gateway-made answers too). */
  readonly headerFilter?: (view: RequestView, response: ResponseView) => void;
  /** After the last byte, or after the client went away; must not throw. */
  readonly log?: (view: RequestView) => void;
  /** Instead of the rewrite phase where a request is only explained. */
  readonly explain?: ExplainHandler;
  /** Called when the unit that holds this plugin is no longer used: give back counted state. */
  readonly close?: () => void;
}

/** Which record carries the configuration being compiled. */
export interface ResourceInfo {
  readonly kind: "route" | "service" | "plugin_config" | "global_rule" | "consumer" | "consumer_group";
  readonly id: string;
  /** Which part of a configuration that holds others; absent for all but those. */
  readonly part?: string;
}

/** Shared state that outlives configuration changes, keyed by what it depends on, closed when nobody holds it. */
export interface StateRegistry {
  /** Returns the state under `key`, making it on first use; `release` gives it back. The end of the process waits for `close`. */
  hold<T>(
    key: string,
    make: () => T,
    close?: (state: T) => void | Promise<void>,
  ): { readonly state: T; release(): void };
}

/** Remembers in the store what was shown. */
export interface ClusterOnce {
  /**
   * Whether it was not shown before, on whatever node.
   * @param scope a word @param seconds how long it could be shown again @throws CodedError STORE_*
   */
  isFirst(scope: string, text: string, seconds: number): Promise<boolean>;
}

/** What one node offers to all its plugins. */
export interface NodeEnv {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly states: StateRegistry;
  /** Counters that all processes of this node share; absent when there is one process only. */
  readonly counters?: Counters | undefined;
  /** The other processes of this node, for counts of another kind; absent where there is one process. */
  readonly siblings?: Siblings | undefined;
  /** What may be shown once in the cluster; absent where the node has no store to write to. */
  readonly clusterOnce?: ClusterOnce | undefined;
  /** Tokens that were ended before their time; the same object every time. */
  readonly revocations: Revocations;
  /** Issuers of tokens and their keys; the same object every time. */
  readonly tokens: Tokens;
  /** Issuers that are us; the same object every time. */
  readonly servers: AuthorizationServers;
  /** Where the last use of credentials and keys is noted; the same object every time. */
  readonly uses: Uses;
  /** Settings that plugins may read. */
  readonly settings: PluginSettings;
  /** All credentials of a plugin; the same object every time. */
  credentials<Data>(plugin: string): CredentialTable<Data>;
  /** Those of one consumer that look-ups find, as of now; cost: all that the consumer has. */
  credentialsOf<Data>(plugin: string, username: string): readonly Credential<Data>[];
  /** A consumer by name, as of now. */
  consumer(username: string): Consumer | undefined;
  /** The only consumer with this label `custom_id`, as of now; undefined where several have it. */
  consumerByCustomId(customId: string): Consumer | undefined;
  /**
   * A record as it serves now, with the defaults of its plugins and what was sealed opened: it holds secrets. Read anew each time.
   * @param kind one whose id is one name
   */
  record(kind: "route" | "service" | "consumer", id: string): Readonly<Record<string, unknown>> | undefined;
  /** The plugin's metadata record with defaults filled, or undefined; read it per request only if it is cheap to. */
  metadata(plugin: string): unknown;
  /**
   * A request variable as logs and metrics may show it: tokens, keys, cookies and what authentication plugins read are
   * hidden. @param name without "$" @param read the variable of this name; `compileVariable(name)` when left out
   */
  shown(name: string, read?: Variable): Variable;
  /** The internal API at this path, if a loaded plugin offers one. */
  internalApi(path: string): InternalApi | undefined;
}

export interface PluginSettings {
  readonly compat: "default" | "apisix-3.5" | "strict";
  /** `Server` header and the product name in generated headers. */
  readonly serverName: string;
  /** Plain text environment for `$ENV://`; holds secrets, never log it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where callers reach TLS, if said: `redirect.https_port`, else the TLS listener's port (http_to_https redirects). */
  readonly httpsPort: number | undefined;
  readonly prometheus: PrometheusSettings;
  /** Bounds of what one process remembers of verified tokens. */
  readonly tokenCache: { readonly entries: number; readonly bytes: number };
  /** Addresses and ranges that the node never calls for tokens. */
  readonly deniedAddresses: readonly string[];
  /** Who is asked for names in calls for tokens; default: the system. */
  readonly nameServers?: readonly string[];
  /** Zones of proxy-cache, and how long one on disk keeps what does not say so itself; default: one in memory. */
  readonly cache?: { readonly ttlMs: number; readonly zones: readonly CacheZone[] };
  /** Whom jwt-auth's signing endpoint serves; default: whoever knows a key. */
  readonly signEndpoint?: "open" | "authenticated" | "off";
}

/** A place that proxy-cache keeps responses in. */
export interface CacheZone {
  readonly name: string;
  /** Of a zone in memory, in each process. */
  readonly memoryBytes: number;
  /** undefined: it is kept in memory. */
  readonly disk: { readonly path: string; readonly bytes: number } | undefined;
}

/** What `prometheus.*` of the settings says to the plugin of that name. */
interface PrometheusSettings {
  /** Path of its internal API. */
  readonly exportUri: string;
  /** Upper bounds of latency buckets in milliseconds, ascending. */
  readonly buckets: readonly number[];
  /** By metric, without prefix: `[label, variable]` pairs, and how long a series that stands still is kept; 0: for ever. */
  readonly metrics: Readonly<
    Record<string, { readonly extraLabels: readonly (readonly [string, string])[]; readonly expireMs: number }>
  >;
}

/** What a plugin is given when one configuration of it is compiled. */
export interface CompileEnv extends NodeEnv {
  readonly resource: ResourceInfo;
  /**
   * Compiles another plugin's configuration (multi-auth, workflow). Throws CONFIG_INVALID for an unknown one.
   * @param part tells several configurations of one plugin in this one apart, so that each has counts of its own
   */
  plugin(name: string, conf: unknown, part?: string): PluginPhases;
  /** An opaque handle for `view.upstreamChoice`: an inline upstream object or an upstream id. */
  upstream(choice: { readonly upstream?: unknown; readonly upstreamId?: string }): unknown;
}

/** How an admin writes; absent where a stored record is read. */
export interface WriteContext {
  readonly compat: PluginSettings["compat"];
  /** Zones of proxy-cache on the admin's node; undefined: nobody knows. */
  readonly cacheZones?: readonly CacheZone[] | undefined;
}

/** How long the former key goes on when a new one comes. */
export interface Rotation {
  readonly nowSeconds: number;
  /** 0: not at all. */
  readonly overlapSeconds: number;
}

/** What is known when a written configuration is completed. */
export interface Completion extends WriteContext {
  readonly nowSeconds: number;
}

export interface Rotated {
  readonly conf: Readonly<Record<string, unknown>>;
  /** What was made, to be shown once. */
  readonly generated: Readonly<Record<string, string>>;
}

/** Seconds since 1970, and how long the token lives. */
export interface MintTimes {
  readonly nowSeconds: number;
  readonly lifetimeSeconds: number;
}

export interface Minted {
  readonly token: string;
  /** Seconds since 1970. */
  readonly expires: number;
}

/** The consumer side of an authentication plugin. */
export interface CredentialDefinition<S extends TSchema = TSchema, Data = unknown> {
  readonly schema: S;
  /** The member whose value identifies the credential: unique over all consumers. */
  readonly keyAttribute: string;
  /** Members stored encrypted when a keyring is set; dotted paths. */
  readonly encryptFields?: readonly string[];
  /** Members that are stored as they are and not shown to viewers; dotted paths. */
  readonly hiddenFields?: readonly string[];
  /** Members that nobody is shown, of no use to anybody who could be; dotted paths. */
  readonly unshownFields?: readonly string[];
  /**
   * Rules beyond the schema; returns the exact error text. Secret references must be let through.
   * @param write given when an admin writes: rules may then depend on the compatibility mode
   */
  check?(conf: Static<S>, write?: WriteContext): string | undefined;
  /**
   * Completes what an admin wrote before it is checked and stored (jwt-auth makes or keeps a secret).
   * @param previous what is stored under the same id, decrypted
   */
  prepare?(
    conf: Record<string, unknown>,
    previous: Record<string, unknown> | undefined,
    write?: WriteContext,
  ): Record<string, unknown>;
  /**
   * As `prepare`, where something may be made that is shown once (secrets of clients). The schema was not checked yet.
   * @returns text: why it cannot be taken
   */
  complete?(
    conf: Readonly<Record<string, unknown>>,
    previous: Readonly<Record<string, unknown>> | undefined,
    completion: Completion,
  ): Rotated | string;
  /** What is weak about what an admin wrote and nothing forbids, for a warning. The schema was not checked yet. */
  doubt?(conf: Readonly<Record<string, unknown>>): string | undefined;
  /**
   * Gives the configuration a new secret or key.
   * @param given what the admin brings along @returns text: why it cannot be
   */
  rotate?(
    conf: Readonly<Record<string, unknown>>,
    given: Readonly<Record<string, unknown>>,
    rotation: Rotation,
  ): Rotated | string;
  /**
   * Signs a token as this credential's owner could, to try routes with.
   * @param claims beside the registered ones that it sets itself @returns text: why it cannot be
   */
  mint?(
    conf: Readonly<Record<string, unknown>>,
    claims: Readonly<Record<string, unknown>>,
    times: MintTimes,
  ): Promise<Minted | string>;
  /** Called with every reference resolved and defaults filled; throws CodedError RECORD_INVALID when unusable. */
  compile(conf: Static<S>, env: NodeEnv): Data;
}

export interface PluginDefinition<S extends TSchema = TSchema, C extends TSchema = TSchema, Data = unknown> {
  readonly name: string;
  /** Plugin version shown by the Admin API. */
  readonly version: number;
  /** Higher runs first. */
  readonly priority: number;
  readonly schema: S;
  readonly metadataSchema?: TSchema;
  readonly encryptFields?: readonly string[];
  /** Makes this an authentication plugin. */
  readonly credential?: CredentialDefinition<C, Data>;
  /** Whether an explanation may run its phases, where `explain` does not stand in; default: they are named, not run. */
  readonly explain?: ExplainRule;
  /** Shown as an authentication plugin without credentials of its own (multi-auth). */
  readonly authenticates?: true;
  /** True: skipped in a global rule when the route has it too (prometheus). */
  readonly preferRoute?: boolean;
  /**
   * Rules beyond the schema, at write and before compile; returns the exact error text.
   * @param find the loaded plugins, for plugins that hold configurations of others (multi-auth)
   * @param write given when an admin writes
   */
  check?(conf: Static<S>, find?: FindPlugin, write?: WriteContext): string | undefined;
  /**
   * Called at write with each other configuration of this plugin that is stored: rules between two of them
   * (limit-count groups). Both have defaults filled. Returns the exact error text.
   */
  conflict?(conf: Static<S>, other: Static<S>): string | undefined;
  /** Called when configuration changes, with defaults filled; throw CONFIG_INVALID for what `check` cannot know. */
  compile(conf: Static<S>, env: CompileEnv): PluginPhases;
  /** APIs reachable through public-api only. */
  internalApis?(env: NodeEnv): readonly InternalApi[];
}

/** A plugin that is there to be loaded: what is known of it without its module. */
export interface PluginEntry {
  readonly name: string;
  readonly priority: number;
  /** Its configuration on consumers is a credential. */
  readonly hasCredential: boolean;
  /** It has APIs for public-api. */
  readonly hasApis: boolean;
  /** The same plugin every time; the first call loads its module, and waits for nothing. */
  load(): Plugin;
}

/** A plugin whose module is loaded. */
export function entryOf(plugin: Plugin): PluginEntry {
  return {
    name: plugin.name,
    priority: plugin.priority,
    hasCredential: plugin.credential !== undefined,
    hasApis: plugin.internalApis !== undefined,
    load: () => plugin,
  };
}

/** A loaded plugin by name. */
export type FindPlugin = (name: string) => Plugin | undefined;

/** A plugin of any configuration type, as registries hold it. */
// The variance of `compile` and `check` makes a plain union impossible; the registry always validates before calling.
export interface Plugin extends Omit<PluginDefinition, "check" | "conflict" | "compile" | "credential"> {
  readonly credential?: AnyCredential;
  check?(conf: unknown, find?: FindPlugin, write?: WriteContext): string | undefined;
  conflict?(conf: unknown, other: unknown): string | undefined;
  compile(conf: unknown, env: CompileEnv): PluginPhases;
}

export interface AnyCredential extends Omit<CredentialDefinition, "check" | "compile"> {
  check?(conf: unknown, write?: WriteContext): string | undefined;
  compile(conf: unknown, env: NodeEnv): unknown;
}

/**
 * Declares a plugin; the type of its configuration follows from the schema.
 * Throws TypeError for a name that is not lower-case-with-dashes, which is a programmer's error.
 */
export function definePlugin<S extends TSchema, C extends TSchema = TSchema, Data = unknown>(
  definition: PluginDefinition<S, C, Data>,
): Plugin {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(definition.name)) throw new TypeError(`not a plugin name: ${definition.name}`);
  // True by the registry's promise: conf is checked against `schema` before compile or check is called.
  return Object.freeze(definition) as unknown as Plugin;
}

/** Marks a schema with a `default`: optional on the wire, always present to who reads it with the defaults filled in. */
export function Defaulted<S extends TSchema>(schema: S): S {
  // True: whoever reads the static type reads it after withDefaults has filled the member.
  return Type.Optional(schema) as unknown as S;
}

/**
 * The other worker processes of this node: what one tells on a topic each other one hears once, soon and in order.
 * For counts that must be a node's and not a worker's. Where a node is one process there are none.
 */
export interface Siblings {
  /** @param hear told what another worker said; it is JSON and may be anything */
  join(topic: string, hear: (message: unknown) => void): SiblingTopic;
}

export interface SiblingTopic {
  /** Never waits and never throws; when far too much is told at once, the rest is lost. */
  tell(message: unknown): void;
  leave(): void;
}
