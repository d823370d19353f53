/**
 * What the Admin API has to know of plugins: names, schemas, checks, and what identifies a credential.
 * The composition root hands in the node's plugins; nothing here compiles or runs one.
 * Source: docs/spec/admin-api.md sections 5.9, 6 and 7.
 */
import type { Members } from "../base/json/members.ts";
import { withDefaults } from "../base/schema/schema-defaults.ts";
import type { KindName } from "../model/kinds.ts";
import type { DeclaredMembers } from "../model/named-secrets.ts";
import type { CredentialDefinition, Rotated, WriteContext } from "../plugin/plugin.ts";
import { declaredMembersOf } from "../runtime/field-opener.ts";
import type { PluginRegistry, PluginSide } from "../runtime/plugins/plugin-registry.ts";
import { type VerdictChecks, verdictOn } from "../runtime/record-verdict.ts";
import { upstreamError } from "../runtime/upstream/upstream-record.ts";

export interface CatalogPlugin {
  readonly name: string;
  readonly version: number;
  readonly priority: number;
  /** As shown; those with credentials of their own have a `keyAttribute`. */
  readonly type: "auth" | undefined;
  /** JSON schemas as clients are shown them, `_meta` included. */
  readonly schema: object | undefined;
  readonly consumerSchema: object | undefined;
  readonly metadataSchema: object | undefined;
  /** The member of the consumer configuration that must be unique. */
  readonly keyAttribute: string | undefined;
  /** Dotted paths of members that are stored encrypted. */
  encryptFields(side: PluginSide): readonly string[];
  /** Dotted paths of members that viewers are not shown, on whatever side. */
  readonly secretMembers: ReadonlySet<string>;
  /** Dotted paths of members that nobody is shown. */
  readonly unshownMembers: ReadonlySet<string>;
  /** Completes a consumer's configuration before it is checked and stored. @param previous as stored, opened */
  prepare(conf: Members, previous: Members | undefined): Members;
  /** As `prepare`, where something may be made that is shown once; undefined when this plugin makes none. */
  readonly complete:
    | ((conf: Members, previous: Members | undefined, nowSeconds: number) => Rotated | string)
    | undefined;
  /** Gives a consumer's configuration a new secret or key; undefined when this plugin has none that could be rotated. */
  readonly rotate: CredentialDefinition["rotate"];
  /** Signs a token to try routes with; undefined when this plugin's credentials sign none. */
  readonly mint: CredentialDefinition["mint"];
  /** What is weak about a consumer's configuration as it was written. */
  readonly doubt: CredentialDefinition["doubt"];
  /** Why two configurations in different records cannot stand together; undefined when this plugin has no such rule. */
  readonly conflict: ((conf: Members, other: Members) => string | undefined) | undefined;
}

export interface PluginCatalog {
  /** Highest priority first. */
  readonly names: readonly string[];
  /** Of those whose configuration on consumers is a credential. */
  readonly credentialNames: readonly string[];
  /** All of them, in the order of `names`: every module is loaded for it. */
  plugins(): readonly CatalogPlugin[];
  get(name: string): CatalogPlugin | undefined;
  /** How this admin writes. */
  readonly write: WriteContext;
  /** What a plugin's schemas name; empty for one that is not loaded. */
  readonly declared: DeclaredMembers;
  /** @returns the first error of a `plugins` member in APISIX's words, unknown plugins among them */
  checkPlugins(plugins: unknown, side: "route" | "consumer"): string | undefined;
  /** Why gateway nodes would not take a record that has passed every other check; undefined when they would. */
  verdict(kind: KindName, value: Members): string | undefined;
  /** @returns the first error of a plugin's metadata, without any prefix */
  checkMetadata(name: string, value: unknown): string | undefined;
}

/** The catalog of a node's plugins. */
export function catalogOf(registry: PluginRegistry, write: WriteContext, judge?: VerdictChecks): PluginCatalog {
  const described = new Map<string, CatalogPlugin | undefined>();
  const get = (name: string): CatalogPlugin | undefined => {
    if (!described.has(name) && registry.has(name)) described.set(name, describe(registry, name, write));
    return described.get(name);
  };
  return {
    names: registry.names,
    credentialNames: registry.credentialNames,
    plugins: () => registry.names.flatMap((name) => get(name) ?? []),
    write,
    get,
    declared: declaredMembersOf(registry),
    checkPlugins: (confs, side) => registry.checkAll(confs, side, "write", write),
    verdict: (kind, value) =>
      nodesVerdict(kind, value, judge ?? { registry, upstreamError: (one) => upstreamError(one, undefined) }),
    checkMetadata: (name, value) => registry.check(name, value, "metadata", write),
  };
}

/** Their own checks say all there is to say of these. */
const UNJUDGED: ReadonlySet<KindName> = new Set(["plugin_metadata", "secret", "proto", "stream_route"]);
/** An upstream with one of these is for stream routes, which are stored without effect. */
const STREAM_SCHEMES: ReadonlySet<unknown> = new Set(["tcp", "udp", "tls", "kafka"]);

/** @param value plain text */
function nodesVerdict(kind: KindName, value: Members, judge: VerdictChecks): string | undefined {
  if (UNJUDGED.has(kind)) return undefined;
  const judged = kind === "upstream" && STREAM_SCHEMES.has(value["scheme"]) ? { ...value, scheme: "http" } : value;
  const id = String(value["username"] ?? value["id"] ?? "0");
  const key = kind === "credential" ? { kind, id, consumer: "0", credential: id } : { kind, id };
  // Keys may be sealed here; that they belong to their certificates was checked before.
  const sslError = ({ cert: _c, key: _k, certs: _cs, keys: _ks, ...rest }: Members) => judge.sslError?.(rest);
  const read = verdictOn(key, Buffer.from(JSON.stringify(judged)), { ...judge, sslError, decrypt: undefined });
  return read.ok ? undefined : read.problem;
}

function describe(registry: PluginRegistry, name: string, write: WriteContext): CatalogPlugin | undefined {
  const plugin = registry.get(name);
  if (!plugin) return undefined;
  const { credential } = plugin;
  return {
    name,
    version: plugin.version,
    priority: plugin.priority,
    type: credential || plugin.authenticates ? "auth" : undefined,
    schema: registry.schema(name, "route"),
    consumerSchema: registry.schema(name, "consumer"),
    metadataSchema: registry.schema(name, "metadata"),
    keyAttribute: credential?.keyAttribute,
    encryptFields(side) {
      if (side === "metadata") return [];
      return (side === "consumer" ? credential?.encryptFields : undefined) ?? plugin.encryptFields ?? [];
    },
    secretMembers: new Set([
      ...(plugin.encryptFields ?? []),
      ...(credential?.encryptFields ?? []),
      ...(credential?.hiddenFields ?? []),
    ]),
    conflict:
      plugin.conflict &&
      ((conf, other) => plugin.conflict?.(withDefaults(plugin.schema, conf), withDefaults(plugin.schema, other))),
    rotate: credential?.rotate,
    mint: credential?.mint,
    doubt: credential?.doubt,
    unshownMembers: new Set(credential?.unshownFields ?? []),
    complete:
      credential?.complete &&
      ((conf, previous, nowSeconds) => credential.complete?.(conf, previous, { ...write, nowSeconds }) ?? ""),
    prepare: (conf, previous) => credential?.prepare?.({ ...conf }, previous && { ...previous }, write) ?? conf,
  };
}
