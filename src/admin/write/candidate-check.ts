/**
 * Checks what is about to be stored, as far as that needs no store: shape first, content last, APISIX's words.
 * Source: docs/spec/admin-api.md sections 5.7 to 5.14.
 */
import { isMembers, type Members, own, ownMembers } from "../../base/json/members.ts";
import { isSealed } from "../../base/keyring.ts";
import { isReference } from "../../base/reference.ts";
import { KINDS, type Kind, type KindName, secretSchema, strictValidator } from "../../model/kinds.ts";
import { inlineUpstreamsOf } from "../../model/references.ts";
import { luaScript, routeAfterPlugins, routeBeforeSchema } from "../../model/route.ts";
import { checkSsl, type DecryptKey, pairError, privateKeyError } from "../../model/ssl-check.ts";
import { checkUpstream } from "../../model/upstream.ts";
import type { PluginCatalog } from "../plugin-catalog.ts";

export interface CheckEnv {
  readonly catalog: PluginCatalog;
  /** Plain text of a sealed private key of a record; undefined when no key of the ring opens it. */
  readonly openKey: (kind: Kind, id: string, text: string) => string | undefined;
}

/** Schema and what belongs to it. @param id as keys have it */
export function shapeError(env: CheckEnv, kind: Kind, id: string, value: Members): string | undefined {
  const openKey = (text: string): string | undefined => env.openKey(kind, id, text);
  switch (kind.name) {
    case "upstream":
      return checkUpstream(value, openKey);
    case "ssl":
      return checkSsl(value, openKey);
    case "plugin_metadata":
      return metadataError(env.catalog, id, value);
    case "secret":
      if (!secretSchema(managerOf(id))) return `invalid secret manager: ${managerOf(id)}`;
      return schemaError(kind, id, value) ?? managerKeyError(value);
    case "route":
      return routeBeforeSchema(value) ?? schemaError(kind, id, value) ?? inlineUpstreamError(openKey, value);
    case "service":
    case "stream_route":
      return schemaError(kind, id, value) ?? inlineUpstreamError(openKey, value);
    default:
      return schemaError(kind, id, value);
  }
}

/** Plugins, expressions, scripts. */
export function contentError(env: CheckEnv, kind: Kind, value: Members): string | undefined {
  const error = pluginsError(env.catalog, kind, own(value, "plugins"));
  if (error !== undefined) return error;
  return ownContentError(kind, value) ?? splitPairError(value) ?? verdictError(env.catalog, kind, value);
}

function ownContentError(kind: Kind, value: Members): string | undefined {
  switch (kind.name) {
    case "route":
      return routeAfterPlugins(value) ?? luaScript(value);
    case "service":
      return luaScript(value);
    default:
      return undefined;
  }
}

/** Certificates of the upstreams inside of `traffic-split` are read now, as those of all others; sealed keys were when given. */
function splitPairError(value: Members): string | undefined {
  for (const upstream of inlineUpstreamsOf(value)) {
    const { client_cert: cert, client_key: key } = ownMembers(upstream as Members, "tls");
    if (typeof cert !== "string" || (typeof key === "string" && isSealed(key))) continue;
    const error = pairError(cert, typeof key === "string" ? key : undefined, (text) => text);
    if (error !== undefined) return `invalid configuration: client_cert of an upstream of traffic-split: ${error}`;
  }
  return undefined;
}

/** What nodes would refuse is not stored. */
function verdictError(catalog: PluginCatalog, kind: Kind, value: Members): string | undefined {
  const error = catalog.verdict(kind.name, value);
  return error === undefined ? undefined : `invalid configuration: ${error}`;
}

/** The key with which Google's manager is asked; a sealed one was read when it was given. */
function managerKeyError(value: Members): string | undefined {
  const key = own(ownMembers(value, "auth_config"), "private_key");
  if (typeof key !== "string" || isReference(key) || isSealed(key)) return undefined;
  const error = privateKeyError("auth_config.private_key", key);
  return error === undefined ? undefined : `invalid configuration: ${error}`;
}

function schemaError(kind: Kind, id: string, value: Members): string | undefined {
  const error = strictValidator(kind, id).check(value);
  return error === undefined ? undefined : `invalid configuration: ${error}`;
}

function metadataError(catalog: PluginCatalog, name: string, value: Members): string | undefined {
  if (!catalog.get(name)) return "invalid plugin name";
  const error = catalog.checkMetadata(name, value);
  return error === undefined ? undefined : `invalid configuration: ${error}`;
}

function inlineUpstreamError(openKey: DecryptKey, value: Members): string | undefined {
  const upstream = own(value, "upstream");
  return upstream === undefined ? undefined : checkUpstream(upstream, openKey);
}

function pluginsError(catalog: PluginCatalog, kind: Kind, plugins: unknown): string | undefined {
  if (kind.pluginSide === undefined || plugins === undefined) return undefined;
  const error = catalog.checkPlugins(plugins, kind.pluginSide);
  if (kind.pluginSide === "route") return error;
  if (error !== undefined) return `invalid plugins configuration: ${error}`;
  if (kind.name !== "credential") return undefined;
  const others = Object.keys(plugins as object).some((name) => catalog.get(name)?.keyAttribute === undefined);
  return others ? "only supports auth type plugins in consumer credential" : undefined;
}

/** What is to be stored, and what was made for it, to be shown once. */
interface Prepared {
  readonly value: Members;
  readonly generated: Readonly<Record<string, string>>;
  /** What is weak about what was written. */
  readonly doubts: readonly string[];
}

/** Lets plugins complete the consumer side of their configuration (jwt-auth makes or keeps a secret). */
export function prepareConsumer(
  catalog: PluginCatalog,
  kind: Kind,
  value: Members,
  previous: Members | undefined,
  nowSeconds: number,
): Prepared | string {
  const plugins = own(value, "plugins");
  if (kind.pluginSide !== "consumer" || typeof plugins !== "object" || plugins === null)
    return { value, generated: {}, doubts: [] };
  const before = own(previous, "plugins");
  const prepared: Record<string, unknown> = {};
  const doubts: string[] = [];
  let generated: Prepared["generated"] = {};
  for (const [name, conf] of Object.entries(plugins)) {
    const plugin = catalog.get(name);
    prepared[name] = conf;
    if (!plugin || !isMembers(conf)) continue;
    const found = isMembers(before) ? own(before, name) : undefined;
    const old = isMembers(found) ? found : undefined;
    const doubt = plugin.doubt?.(conf);
    if (doubt !== undefined) doubts.push(`plugins.${name}: ${doubt}`);
    const completed = plugin.complete?.(conf, old, nowSeconds);
    if (typeof completed === "string") return `invalid plugins configuration: ${refusedBy(name, completed)}`;
    prepared[name] = completed ? completed.conf : plugin.prepare(conf, old);
    generated = { ...generated, ...completed?.generated };
  }
  return { value: { ...value, plugins: prepared }, generated, doubts };
}

/** In the words of plugins that refuse a configuration. */
function refusedBy(plugin: string, error: string): string {
  return `failed to check the configuration of plugin ${plugin} err: ${error}`;
}

const TIMES = ["create_time", "update_time"] as const;

/** Times are the server's to set. */
export function forbiddenTime(value: Members): string | undefined {
  for (const [holder, path] of [
    [value, ""],
    [own(value, "upstream"), "upstream."],
    [own(value, "plugins"), "plugins."],
  ] as const) {
    if (!isMembers(holder)) continue;
    for (const name of TIMES) {
      // The two spaces are APISIX's.
      if (own(holder, name) !== undefined) return `the property is forbidden:  ${path}${name}`;
    }
  }
  return undefined;
}

function managerOf(id: string): string {
  return id.slice(0, id.indexOf("/"));
}

/** The kind that `/schema/{name}` and `/schema/validate/{dir}` mean, if it has one schema of its own. */
export function kindWithSchema(name: string): Kind | undefined {
  const kind = Object.hasOwn(KINDS, name) ? KINDS[name as KindName] : undefined; // own: it is a name of the table
  return kind === undefined || kind.name === "secret" || kind.name === "plugin_metadata" ? undefined : kind;
}
