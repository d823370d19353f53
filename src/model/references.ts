/**
 * Which records a record points to, for checks on write, on delete and for warnings.
 * Promise: reads values as they are, also those that would not validate; never throws.
 * Source: docs/spec/admin-api.md sections 5.5 and 5.6.
 */
import { type Members, membersOr } from "../base/json/members.ts";
import type { KindName } from "./kinds.ts";

export interface RecordReference {
  readonly kind: KindName;
  readonly id: string;
  /** Words of the error message: "upstream", "service", "plugin config", "consumer group", "ssl", "stream route", "token issuer", "authorization server". */
  readonly word: string;
}

const MEMBERS: Readonly<Partial<Record<KindName, readonly (readonly [string, KindName, string])[]>>> = {
  route: [
    ["upstream_id", "upstream", "upstream"],
    ["service_id", "service", "service"],
    ["plugin_config_id", "plugin_config", "plugin config"],
  ],
  service: [["upstream_id", "upstream", "upstream"]],
  consumer: [["group_id", "consumer_group", "consumer group"]],
  stream_route: [
    ["upstream_id", "upstream", "upstream"],
    ["service_id", "service", "service"],
  ],
};

/** What must exist when the record is written, in the order in which it is checked. */
export function referencesOf(kind: KindName, value: Members): RecordReference[] {
  const found: RecordReference[] = [];
  const certificate = idIn(membersOr(kind === "upstream" ? value : value["upstream"])["tls"], "client_cert_id");
  if (certificate !== undefined) found.push({ kind: "ssl", id: certificate, word: "ssl" });
  for (const [member, target, word] of MEMBERS[kind] ?? []) {
    const id = idIn(value, member);
    if (id !== undefined) found.push({ kind: target, id, word });
  }
  const superior = kind === "stream_route" ? idIn(value["protocol"], "superior_id") : undefined;
  if (superior !== undefined) found.push({ kind: "stream_route", id: superior, word: "stream route" });
  const exchange = membersOr(value["token_exchange"]);
  const traded = kind === "authorization_server" ? [exchange["issuers"], exchange["federated"]].flatMap(listIn) : [];
  for (const id of new Set(traded.filter((one) => typeof one === "string")))
    found.push({ kind: "token_issuer", id, word: "token issuer" });
  for (const id of issuersIn(value, "issuers")) found.push({ kind: "token_issuer", id, word: "token issuer" });
  const served = idIn(membersOr(value["plugins"])["authorization-server"], "id");
  const ours = new Set([...(served === undefined ? [] : [served]), ...issuersIn(value, "authorization_servers")]);
  for (const id of ours) found.push({ kind: "authorization_server", id, word: "authorization server" });
  return found;
}

/** The issuers whose tokens its plugins accept, those inside multi-auth too. */
function issuersIn(value: Members, member: "issuers" | "authorization_servers"): readonly string[] {
  const plugins = membersOr(value["plugins"]);
  const inside = listIn(membersOr(plugins["multi-auth"])["auth_plugins"]).map(membersOr);
  const ids = [plugins, ...inside].flatMap((holder) => listIn(membersOr(holder["access-token"])[member]));
  return [...new Set(ids.filter((id) => typeof id === "string"))];
}

/** The protocol that a stream route speaks; a subordinate one speaks its superior's. */
export function protocolOf(streamRoute: Members): string | undefined {
  const name = membersOr(streamRoute["protocol"])["name"];
  return typeof name === "string" ? name : undefined;
}

/** What plugins point to: upstreams of traffic-split, the definition of grpc-transcode. Not checked on write. */
export function pluginReferencesOf(value: Members): RecordReference[] {
  const plugins = membersOr(value["plugins"]);
  const found: RecordReference[] = [];
  for (const rule of listIn(membersOr(plugins["traffic-split"])["rules"])) {
    for (const target of listIn(membersOr(rule)["weighted_upstreams"])) {
      const id = idIn(target, "upstream_id");
      if (id !== undefined) found.push({ kind: "upstream", id, word: "upstream" });
    }
  }
  const proto = idIn(plugins["grpc-transcode"], "proto_id");
  if (proto !== undefined) found.push({ kind: "proto", id: proto, word: "proto" });
  return found;
}

/** The issuer whose tokens a credential of access-token is for; undefined: it has none, or a reference says. */
export function identityIssuer(value: Members): string | undefined {
  const { identity } = membersOr(membersOr(value["plugins"])["access-token"]);
  return typeof identity === "string" ? /^([^/$]+)\//.exec(identity)?.[1] : undefined;
}

/** Upstreams that stand inside a record and count there: its own where it names no other, and those of traffic-split. */
export function inlineUpstreamsOf(value: Members): readonly object[] {
  const own = value["upstream_id"] === undefined ? [value["upstream"]] : [];
  const split = listIn(membersOr(membersOr(value["plugins"])["traffic-split"])["rules"]).flatMap((rule) =>
    listIn(membersOr(rule)["weighted_upstreams"]).map((target) =>
      idIn(target, "upstream_id") === undefined ? membersOr(target)["upstream"] : undefined,
    ),
  );
  return [...own, ...split].filter((one): one is object => typeof one === "object" && one !== null);
}

function idIn(holder: unknown, name: string): string | undefined {
  const id = membersOr(holder)[name];
  return typeof id === "string" || typeof id === "number" ? String(id) : undefined;
}

function listIn(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
