/**
 * Warnings about one route as it will be served: whether it asks who calls, and whether it leads anywhere.
 */
import { type Members, own } from "../../base/json/members.ts";
import { literalOf } from "../../runtime/routes/uri-pattern.ts";
import type { RuleSide } from "../admin-context.ts";
import type { PreviewRoute } from "./preview-route.ts";

export interface RouteSurroundings {
  /** Plugins of all global rules. */
  readonly everywhere: ReadonlySet<string>;
  /** Authentication plugins that somebody has a credential of. */
  readonly credentials: ReadonlySet<string>;
  /** Records of issuers by id. */
  readonly issuers: ReadonlyMap<string, { readonly value: Members }>;
  /** Issuers that some credential of access-token names; undefined: nobody has looked. */
  readonly identified: ReadonlySet<string> | undefined;
}

interface RouteFault {
  readonly code:
    | "sign_endpoint_open"
    | "nobody_can_pass"
    | "audience_unchecked"
    | "token_endpoint_open_to_guessing"
    | "id_tokens_accepted"
    | "issuer_without_consumers"
    | "cors_without_options"
    | "upstream_without_nodes";
  readonly message: string;
}

/** APIs that hand out tokens: of authorization-server, and jwt-auth's signing endpoint. */
const TOKEN_APIS = "/apisix/plugin/authorization-server/";
const SIGN_PATH = "/apisix/plugin/jwt/sign";
/** Plugins that ask others, or several plugins, who calls. */
const ASKERS: ReadonlySet<string> = new Set(["multi-auth", "forward-auth", "openid-connect", "opa", "cas-auth"]);
/** Plugins that answer by themselves, so that no upstream is needed. */
const ANSWERERS: ReadonlySet<string> = new Set([
  "public-api",
  "authorization-server",
  "mocking",
  "redirect",
  "fault-injection",
  "traffic-split",
  "serverless-pre-function",
  "serverless-post-function",
]);

/** Whether somebody has to prove who they are before the route serves them. */
export function isProtected(admin: RuleSide, route: PreviewRoute, everywhere: ReadonlySet<string>): boolean {
  const authenticates = (name: string): boolean => ASKERS.has(name) || admin.catalog.get(name)?.type === "auth";
  return [...route.plugins.keys(), ...everywhere].some(authenticates);
}

export function routeFaults(admin: RuleSide, route: PreviewRoute, around: RouteSurroundings): RouteFault[] {
  const faults: RouteFault[] = [];
  if (signs(route) && !isProtected(admin, route, around.everywhere)) {
    const message = "hands out tokens to everyone who knows a key, and keys stand in every token: add authentication";
    faults.push({ code: "sign_endpoint_open", message });
  }
  if (givesTokens(route) && !LIMITERS.some((name) => route.plugins.has(name) || around.everywhere.has(name))) {
    const message = `has a token endpoint and no limit: add one of ${LIMITERS.join(", ")}`;
    faults.push({ code: "token_endpoint_open_to_guessing", message });
  }
  if (own(route.plugins.get("access-token") ?? {}, "skip_audience_check") === true) {
    const message = "takes access tokens whoever they were meant for: name audiences instead of skip_audience_check";
    faults.push({ code: "audience_unchecked", message });
  }
  faults.push(...tokenFaults(route.plugins.get("access-token"), around));
  for (const [name, conf] of route.plugins) {
    if (admin.catalog.get(name)?.keyAttribute === undefined || around.credentials.has(name)) continue;
    if (own(conf, "anonymous_consumer") !== undefined || asksNoCredential(name, conf)) continue;
    faults.push({ code: "nobody_can_pass", message: `asks for ${name}, and no consumer has a credential of it` });
  }
  if (route.methods.size > 0 && !route.methods.has("OPTIONS") && route.plugins.has("cors")) {
    const message = "has cors, and its methods leave OPTIONS out: preflight requests of browsers do not reach it";
    faults.push({ code: "cors_without_options", message });
  }
  const answers = [...route.plugins.keys(), ...around.everywhere].some((name) => ANSWERERS.has(name));
  const fault = answers ? undefined : upstreamFault(route.upstream);
  return fault === undefined ? faults : [...faults, { code: "upstream_without_nodes", message: fault }];
}

/** Plugins by which a caller cannot ask as often as it likes. */
const LIMITERS = ["limit-req", "limit-count", "limit-conn", "ip-restriction"] as const;

function givesTokens(route: PreviewRoute): boolean {
  const conf = route.plugins.get("authorization-server");
  const endpoints = conf && own(conf, "endpoints");
  if (conf !== undefined && (!Array.isArray(endpoints) || endpoints.includes("token"))) return true;
  const isToken = (path: string): boolean => path.startsWith(TOKEN_APIS) && path.endsWith("/token");
  return servesApi(route, isToken, (begin) => TOKEN_APIS.startsWith(begin) || begin.startsWith(TOKEN_APIS));
}

/** What access-token lets in that was not meant, or keeps out. */
function tokenFaults(conf: Members | undefined, { issuers, identified }: RouteSurroundings): RouteFault[] {
  const ids = textsIn(conf, "issuers");
  const asksNothing = ["required_scopes", "any_scopes", "claim_rules"].every((name) => listIn(conf, name).length === 0);
  const open = ids.filter((id) => {
    const record = issuers.get(id)?.value;
    return asksNothing && record !== undefined && own(record, "typ") === undefined;
  });
  const faults = open.map((id): RouteFault => {
    const cure = 'wants no scope: set typ ["at+jwt"] there if it has that, or required_scopes here';
    return {
      code: "id_tokens_accepted",
      message: `takes id tokens of ${id} too, whose record has no typ, and ${cure}`,
    };
  });
  if (identified === undefined || conf === undefined || asksNoCredential("access-token", conf)) return faults;
  if (own(conf, "anonymous_consumer") !== undefined) return faults;
  const strangers = ids.filter((id) => issuers.has(id) && !identified.has(id));
  const nobody = strangers.map((id): RouteFault => {
    const message = `takes tokens of ${id}, and no access-token credential has an identity that begins with "${id}/"`;
    return { code: "issuer_without_consumers", message };
  });
  return [...faults, ...nobody];
}

function listIn(conf: Members | undefined, name: string): readonly unknown[] {
  const list = conf && own(conf, name);
  return Array.isArray(list) ? list : [];
}

function textsIn(conf: Members | undefined, name: string): readonly string[] {
  return listIn(conf, name).filter((one): one is string => typeof one === "string");
}

/** access-token finds callers in other ways too. */
function asksNoCredential(name: string, conf: Members): boolean {
  if (name !== "access-token") return false;
  return (own(conf, "consumer_by") ?? "credential") !== "credential" || own(conf, "consumer_optional") === true;
}

function signs(route: PreviewRoute): boolean {
  return servesApi(
    route,
    (path) => path === SIGN_PATH,
    (begin) => SIGN_PATH.startsWith(begin),
  );
}

/** @param mayBegin whether paths that begin so can be those of the API */
function servesApi(
  { plugins, paths }: PreviewRoute,
  isApi: (path: string) => boolean,
  mayBegin: (begin: string) => boolean,
): boolean {
  const conf = plugins.get("public-api");
  if (!conf) return false;
  const uri = own(conf, "uri");
  if (uri !== undefined) return typeof uri === "string" && isApi(uri);
  return paths.some(({ source }) => {
    const { literal, exact } = literalOf(source, false);
    return exact ? isApi(literal) : mayBegin(literal);
  });
}

/** Why requests to it cannot be forwarded. */
export function upstreamFault(upstream: Members | "missing" | undefined): string | undefined {
  if (upstream === undefined) return "leads nowhere: there is neither an upstream nor a plugin that answers";
  if (upstream === "missing") return undefined; // said by the reference
  const nodes = own(upstream, "nodes");
  if (nodes === undefined) return "has no nodes: service discovery is not offered here";
  const weights = Array.isArray(nodes)
    ? nodes.map((node) => own(node as Members, "weight"))
    : Object.values(typeof nodes === "object" && nodes !== null ? nodes : {});
  if (weights.length === 0) return "has no nodes";
  return weights.some((weight) => weight !== 0) ? undefined : "has only nodes of weight 0";
}
