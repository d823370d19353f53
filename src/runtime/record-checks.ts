/**
 * What a record from the store must satisfy beyond its schema before the data plane takes it.
 * Tolerant where real APISIX nodes may have written something we do not know; strict where taking it would be wrong.
 */
import { type AuthorizationServer, authorizationServerError } from "../model/authorization-server-record.ts";
import type { RecordKey } from "../model/keys.ts";
import { KINDS, type KindName, tolerantValidator } from "../model/kinds.ts";
import { readRecord, type StoredValue, wrongKind } from "../model/record.ts";
import { type SigningKey, signingKeyError } from "../model/signing-key.ts";
import type { TokenIssuer } from "../model/token-issuer.ts";
import { tokenIssuerError } from "../model/token-issuer-check.ts";
import { nextTurn } from "../store/store-follow.ts";
import { isForeignCredential } from "./plugins/blocking-plugin.ts";
import { metaOf, type PluginRegistry } from "./plugins/plugin-registry.ts";
import type { PluginHost } from "./plugins/plugin-unit.ts";
import { routeError, serviceError } from "./routes/route-entry.ts";

/** @returns why the record is refused */
export function recordError(key: RecordKey, value: StoredValue, registry: PluginRegistry): string | undefined {
  const side = KINDS[key.kind].pluginSide;
  const error = side && registry.checkAll(value["plugins"], side, "read");
  if (error !== undefined) return error;
  switch (key.kind) {
    case "route":
      return routeError(value);
    case "service":
      return serviceError(value);
    case "credential":
      return credentialError(value, registry);
    case "token_issuer":
      return tokenIssuerError(value as unknown as TokenIssuer); // its schema was checked
    case "authorization_server":
      return authorizationServerError(value as unknown as AuthorizationServer); // as above
    case "signing_key":
      return signingKeyError(key.id, value as unknown as SigningKey); // as above
    case "plugin_metadata":
      return registry.has(key.id) ? registry.check(key.id, withoutId(value), "metadata") : undefined;
    default:
      return undefined;
  }
}

function credentialError(value: StoredValue, registry: PluginRegistry): string | undefined {
  for (const name of Object.keys((value["plugins"] ?? {}) as object)) {
    const plugin = registry.get(name);
    if (plugin && !plugin.credential) return `only supports auth type plugins in consumer credential, not ${name}`;
  }
  return undefined;
}

interface MissingPlugin {
  readonly plugin: string;
  readonly reason: string;
  readonly blocks: boolean;
}

/** The plugins of a record that cannot run on this node, those that are disabled aside. */
export function missingPlugins(
  kind: KindName,
  plugins: unknown,
  { registry, mayBeMissing }: Pick<PluginHost, "registry" | "mayBeMissing">,
): readonly MissingPlugin[] {
  if (KINDS[kind].pluginSide === undefined || typeof plugins !== "object" || plugins === null) return NONE;
  let found: MissingPlugin[] | undefined;
  for (const [plugin, conf] of Object.entries(plugins)) {
    if (registry.has(plugin) || metaOf(conf)["disable"] === true) continue;
    found ??= [];
    const isCredential = kind === "credential" || (kind === "consumer" && isForeignCredential(plugin));
    const blocks = !isCredential && !mayBeMissing(plugin);
    const effect = isCredential ? NOBODY : blocks ? REFUSED : "it is left out";
    found.push({ plugin, blocks, reason: `plugin ${plugin} is not loaded on this node: ${effect}` });
  }
  return found ?? NONE;
}

const NONE: readonly MissingPlugin[] = Object.freeze([]);
const NOBODY = "nobody is let in by it";
const REFUSED =
  "requests are answered 503; load it (setting plugins), set its _meta.disable, or name it in plugins_may_be_missing";

const MATCHING = "uri uris host hosts methods remote_addr remote_addrs vars priority status name".split(" ");

/** What a route that was refused asks of requests; undefined when that cannot be read either. */
export function matchPart(key: RecordKey, bytes: Buffer, registry: PluginRegistry): StoredValue | undefined {
  try {
    const whole: unknown = JSON.parse(bytes.toString("utf8"));
    if (typeof whole !== "object" || whole === null || wrongKind(key.kind, whole as StoredValue) !== undefined) {
      return undefined;
    }
    const members = whole as StoredValue;
    if (members["uri"] === undefined && members["uris"] === undefined) return undefined;
    const part = MATCHING.flatMap((name) => (name in members ? [[name, members[name]]] : []));
    // A route without plugins must have an upstream.
    const read = readRecord(key, JSON.stringify({ ...Object.fromEntries(part), plugins: {} }));
    return read.ok && recordError(key, read.value, registry) === undefined ? read.value : undefined;
  } catch {
    return undefined; // no JSON, or nothing that a router could hold
  }
}

/** Metadata as plugins know it: `id` is ours. */
export function withoutId(value: StoredValue): StoredValue {
  const { id: _, ...rest } = value;
  return rest;
}

/** Kinds that mean nothing here, and secrets, whose schema depends on their manager. */
const UNCOMPILED: ReadonlySet<KindName> = new Set(["secret", "proto", "stream_route"]);

/**
 * Compiles how records are checked, each kind in a turn of its own. The first record of a kind would otherwise hold up
 * requests for as long as its schema takes, up to tens of milliseconds.
 */
export async function compileChecks(): Promise<void> {
  for (const kind of Object.values(KINDS)) {
    if (UNCOMPILED.has(kind.name)) continue;
    tolerantValidator(kind, "").check({});
    await nextTurn();
  }
}
