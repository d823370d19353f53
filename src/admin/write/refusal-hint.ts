/**
 * What was wanted, beside the sentence that tools compare: `description` of a refused write. The schema at the place that
 * failed says most of it; a few sentences come from no schema.
 * Promise: no value is quoted that could be a secret.
 */
import { type Members, own, ownMembers } from "../../base/json/members.ts";
import { wanted } from "../../base/schema/schema-wanted.ts";
import { didYouMean } from "../../base/suggest.ts";
import { type Kind, SECRET_MANAGERS, strictValidator } from "../../model/kinds.ts";
import { BALANCERS } from "../../model/upstream.ts";
import type { RuleSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";

interface RefusedWrite {
  readonly admin: RuleSide;
  readonly kind: Kind;
  /** As keys have it. */
  readonly id: string;
  readonly value: Members;
  readonly error: string;
}

const PUBLIC_KEY = "algorithms RS*, ES*, PS* and EdDSA verify with public_key, a PEM text; HS* with secret";
const HASH_KEY =
  "a chash upstream needs key: what is hashed, such as remote_addr or arg_id; with hash_on header or cookie its name";
const HASH_ON_VARS =
  "key of a chash upstream with hash_on vars must be uri, server_name, server_addr, request_uri, remote_port, remote_addr, " +
  "query_string, host, hostname, mqtt_client_id or arg_<name>; headers and cookies go by hash_on header and cookie";
const HASH_ON_NAME = "key of a chash upstream with hash_on header or cookie must be its name: letters, digits, _ and -";
const UPSTREAM_HOST = "pass_host rewrite needs upstream_host, the Host that is sent; pass_host pass and node need none";
const METADATA = "metadata is written to /plugin_metadata/{name of a plugin}";

/** 400 with the sentence, and a description where there is more to say. @param id as keys have it */
export function refuseWrite(admin: RuleSide, kind: Kind, id: string, value: Members, error: string): AdminAnswer {
  const description = hintOf({ admin, kind, id, value, error });
  return refuse(400, error, description === undefined ? {} : { description });
}

/** 400 for a body that is JSON and no object. @param type as Lua names it @param id as keys have it */
export function refuseShape(type: string, kind: Kind, id: string): AdminAnswer {
  const description = wanted(strictValidator(kind, id).schema, null, kind.name);
  return refuse(
    400,
    `invalid configuration: wrong type: expected object, got ${type}`,
    description === undefined ? {} : { description },
  );
}

function hintOf(write: RefusedWrite): string | undefined {
  const { admin, kind, id, value, error } = write;
  const plugin = /configuration of plugin ([\w-]+) err: /.exec(error)?.[1];
  if (plugin !== undefined) return pluginHint(write, plugin);
  const other = ofNoSchema(write);
  if (other !== undefined || !error.startsWith("invalid configuration: ")) return other;
  if (kind.id === "plugin") return wanted(admin.catalog.get(id)?.metadataSchema, value, `metadata of ${id}`);
  return wanted(strictValidator(kind, id).schema, value, kind.name);
}

function pluginHint({ admin, kind, value, error }: RefusedWrite, name: string): string | undefined {
  const plugin = admin.catalog.get(name);
  const schema = (kind.pluginSide === "consumer" ? plugin?.consumerSchema : undefined) ?? plugin?.schema;
  const found = wanted(schema, own(ownMembers(value, "plugins"), name), `plugins.${name}`);
  return found ?? (error.includes("public_key") ? PUBLIC_KEY : undefined);
}

/** Rules that stand beside schemas. */
function ofNoSchema({ admin, kind, id, value, error }: RefusedWrite): string | undefined {
  const unknown = /unknown plugin \[([^\]]*)\]/.exec(error)?.[1];
  if (unknown !== undefined) return strangePlugin(admin, unknown);
  const shapeless = /invalid plugin conf .* for plugin \[([\w-]+)\]/s.exec(error)?.[1];
  if (shapeless !== undefined) return `plugins.${shapeless} must be an object, {} where it needs no members`;
  if (error === "invalid plugin name") return `${METADATA}; ${strangePlugin(admin, id)}`;
  if (error.startsWith("only supports auth type plugins"))
    return `plugins of a credential must be one of ${admin.catalog.credentialNames.join(", ")}`;
  if (error.startsWith("invalid secret manager: ")) return `a secret manager is one of ${SECRET_MANAGERS.join(", ")}`;
  if (error === "missing key") return HASH_KEY;
  if (error.startsWith("`upstream_host` can't be empty")) return UPSTREAM_HOST;
  return upstreamHint(kind.name === "upstream" ? value : ownMembers(value, "upstream"), error);
}

function upstreamHint(upstream: Members, error: string): string | undefined {
  const [type, on] = [own(upstream, "type"), own(upstream, "hash_on") ?? "vars"];
  const isNone = typeof type === "string" && !(BALANCERS as readonly string[]).includes(type);
  if (isNone && error.includes('property "type"'))
    return `type of an upstream must be one of ${BALANCERS.join(", ")}${didYouMean(type, BALANCERS)}`;
  if (type !== "chash" || !error.startsWith("invalid configuration: failed to match pattern")) return undefined;
  return on === "vars" ? HASH_ON_VARS : HASH_ON_NAME;
}

function strangePlugin({ catalog }: RuleSide, name: string): string {
  return `this node has no plugin ${name.slice(0, 64)}${didYouMean(name, catalog.names)}; GET /apisix/admin/plugins/list names those it has`;
}
