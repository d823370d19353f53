/**
 * What is suspicious about one record, read by itself: nothing here asks the store. Each fault says what the record does
 * instead of what was probably meant, and the cure.
 */

import { X509Certificate } from "node:crypto";
import { isIPv6 } from "node:net";
import { isMembers, type Members, own, ownMembers } from "../../base/json/members.ts";
import { isReference, parseReference } from "../../base/reference.ts";
import { didYouMean } from "../../base/suggest.ts";
import type { ReadSide, RecordChange, RuleSide } from "../admin-context.ts";
import { type IssuerFault, issuerFaults, openidFaults } from "./warn-issuer.ts";

export interface RecordFault {
  readonly code:
    | "unknown_member"
    | "uri_never_matches"
    | "host_never_matches"
    | "certificate"
    | "key_of_another_algorithm"
    | "reference_inside_text"
    | "reference_malformed"
    | "variable_not_set"
    | "without_effect"
    | "signing_keys_unsealed"
    | IssuerFault["code"];
  readonly message: string;
}

export function recordFaults(admin: ReadSide, { kind, candidate }: RecordChange): readonly RecordFault[] {
  if (!candidate) return [];
  return [
    ...pluginFaults(admin, candidate, kind.pluginSide === "consumer"),
    ...(kind.name === "route" ? uriFaults(admin, candidate) : []),
    ...hostFaults(candidate),
    ...(kind.name === "ssl" ? certificateFaults(candidate, admin.clock.nowMs()) : []),
    ...(kind.name === "token_issuer" ? issuerFaults(candidate, admin.isAddressDenied) : []),
    ...(KEYED.has(kind.name) && !admin.codec.seals ? [UNSEALED] : []),
    ...referenceFaults(admin, candidate),
    ...effectFaults(kind.name, candidate),
  ];
}

const KEYED: ReadonlySet<string> = new Set(["authorization_server", "signing_key"]);
const UNSEALED: RecordFault = {
  code: "signing_keys_unsealed",
  message:
    "private keys are stored as plain text, so that whoever reads the store can make tokens: set encryption.keyring",
};

function pluginFaults(admin: RuleSide, value: Members, isConsumer: boolean): RecordFault[] {
  const faults: RecordFault[] = [];
  for (const [name, conf] of Object.entries(ownMembers(value, "plugins"))) {
    const plugin = admin.catalog.get(name);
    const schema = (isConsumer ? plugin?.consumerSchema : undefined) ?? plugin?.schema;
    if (schema === undefined || !isMembers(conf)) continue;
    faults.push(...unknownMembers(`plugins.${name}`, schema, conf));
    if (name === "multi-auth") faults.push(...innerFaults(admin, own(conf, "auth_plugins")));
    if (name === "openid-connect") faults.push(...openidFaults(conf, `plugins.${name}`, admin.isAddressDenied));
    if (name !== "jwt-auth" || own(conf, "public_key") === undefined || own(conf, "algorithm") !== undefined) continue;
    const message =
      "plugins.jwt-auth has a public_key and no algorithm, so that HS256 with its secret counts: set algorithm, such as RS256";
    faults.push({ code: "key_of_another_algorithm", message });
  }
  return faults;
}

/** Of the plugins that multi-auth holds. */
function innerFaults(admin: RuleSide, all: unknown): RecordFault[] {
  if (!Array.isArray(all)) return [];
  return all.flatMap((one, at) =>
    Object.entries(isMembers(one) ? one : {}).flatMap(([name, conf]) =>
      unknownMembers(`plugins.multi-auth.auth_plugins[${at}].${name}`, admin.catalog.get(name)?.schema, conf),
    ),
  );
}

type Schema = Readonly<Record<string, unknown>>;

/** Schemas let strangers through, since APISIX's do: a misspelt member is then a default. */
function unknownMembers(path: string, schema: unknown, value: unknown): RecordFault[] {
  if (Array.isArray(value)) {
    const items = isMembers(schema) ? own(schema, "items") : undefined;
    return value.flatMap((item, at) => unknownMembers(`${path}[${at}]`, items, item));
  }
  if (!isMembers(value) || !isMembers(schema)) return [];
  const known = propertiesOf(schema);
  if (known === undefined) return [];
  return Object.entries(value).flatMap(([name, member]): RecordFault[] => {
    if (known.has(name)) return unknownMembers(`${path}.${name}`, known.get(name), member);
    const hint = didYouMean(name, known.keys());
    return [{ code: "unknown_member", message: `${path} has no member ${name}, which is without effect${hint}` }];
  });
}

/** undefined where any name is allowed, or nothing is said. */
function propertiesOf(schema: Schema): ReadonlyMap<string, unknown> | undefined {
  if (own(schema, "patternProperties") !== undefined || isMembers(own(schema, "additionalProperties")))
    return undefined;
  const found = new Map<string, unknown>();
  const branches = ["allOf", "anyOf", "oneOf"].flatMap((word) => own(schema, word) ?? []);
  const clauses = ["if", "then", "else"].map((word) => own(schema, word));
  const depending = Object.values(ownMembers(schema, "dependencies"));
  for (const part of [...branches, ...clauses, ...depending]) {
    if (isMembers(part)) for (const [name, inner] of propertiesOf(part) ?? []) found.set(name, inner);
  }
  for (const [name, inner] of Object.entries(ownMembers(schema, "properties"))) found.set(name, inner);
  return found.size === 0 ? undefined : found;
}

function uriFaults(admin: RuleSide, value: Members): RecordFault[] {
  const withParameters = admin.routerMode === "radixtree_uri_with_parameter";
  return textsOf(value, "uri", "uris").flatMap((uri): RecordFault[] => {
    const why = neverMatches(uri, withParameters);
    return why === undefined ? [] : [{ code: "uri_never_matches", message: `uri ${JSON.stringify(uri)} ${why}` }];
  });
}

const ESCAPE = /%[0-9a-f]{2}/i;

function neverMatches(uri: string, withParameters: boolean): string | undefined {
  if (!uri.startsWith("/") && !uri.startsWith("*"))
    return `matches no request: paths begin with a slash, write "/${uri}"`;
  if (/[?#]/.test(uri)) return "matches no request: a query is no part of the path, use vars such as arg_name";
  const octet = ESCAPE.exec(uri)?.[0];
  if (octet !== undefined && octet.toLowerCase() !== "%2f") {
    return `matches no request: paths are matched after ${octet} became ${JSON.stringify(decoded(octet))}`;
  }
  if (octet !== undefined) return "matches only with router.match_uri_encoded_slash: else %2F becomes a slash first";
  if (/\/\//.test(uri)) return "matches no request: repeated slashes are made one before";
  if (/\/\.{1,2}(?:\/|$)/.test(uri)) return "matches no request: dot segments are resolved before";
  const pattern = /\{[^/]*\}|\[[^/]*\][+*?]|\([^/]*[|*+?][^/]*\)|\\[dw]/.exec(uri)?.[0];
  if (pattern !== undefined && !withParameters)
    return `matches only ${pattern} itself: uri knows no patterns but "*" at its end; use vars such as ["uri","~~","^/a/[0-9]+$"]`;
  const parameter = /\/(:[A-Za-z_]\w*)/.exec(uri)?.[1];
  if (parameter === undefined || withParameters) return undefined;
  return `matches only ${parameter} itself: parameters need router.mode radixtree_uri_with_parameter; "*" stands for any rest`;
}

function decoded(octet: string): string {
  const code = Number.parseInt(octet.slice(1), 16);
  return code < 0x80 ? String.fromCharCode(code) : "its byte";
}

function hostFaults(value: Members): RecordFault[] {
  return textsOf(value, "host", "hosts").flatMap((host): RecordFault[] => {
    const port = /:\d*$/.exec(host)?.[0];
    if (port === undefined || isIPv6(host)) return [];
    const message = `host ${JSON.stringify(host)} matches no request: hosts are matched without a port, leave ${port} out`;
    return [{ code: "host_never_matches", message }];
  });
}

const REFERENCE = /\$(?:env|secret):\/\//i;
/** What was probably meant to be one. */
const NEARLY_REFERENCE = /^\s*\$(?:env|secrets?):{1,2}\/*/i;

function referenceFaults(admin: RuleSide, value: unknown, path = ""): RecordFault[] {
  if (typeof value === "string") return textFaults(admin, value, path);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) =>
    referenceFaults(admin, member, Array.isArray(value) ? `${path}[${name}]` : path === "" ? name : `${path}.${name}`),
  );
}

/** @param so what becomes of it */
function malformed(path: string, why: string, so: string): RecordFault {
  const message = `${path} looks like a reference and is none (${why}), so it ${so}: write $env://NAME or $secret://manager/id/path/key`;
  return { code: "reference_malformed", message };
}

function textFaults(admin: RuleSide, text: string, path: string): RecordFault[] {
  if (!isReference(text)) {
    if (NEARLY_REFERENCE.test(text)) return [malformed(path, "it begins otherwise", "is taken as it stands")];
    if (!REFERENCE.test(text)) return [];
    const message = `${path} holds a reference that is not its whole text, and is taken as it stands: make the whole member a reference`;
    return [{ code: "reference_inside_text", message }];
  }
  const reference = parseReference(text);
  if (typeof reference === "string")
    return [malformed(path, reference.replace("error format: ", ""), "never has a value")];
  if (reference.kind !== "env" || admin.isVariableSet(reference.name)) return [];
  const message = `${path} refers to the variable ${reference.name}, which is not set for this admin node: every gateway node needs it`;
  return [{ code: "variable_not_set", message }];
}

const SCHEMES_WITHOUT_EFFECT: Readonly<Record<string, string>> = {
  tcp: "is for stream routes, which have no effect: no route can use it",
  udp: "is for stream routes, which have no effect: no route can use it",
  tls: "is for stream routes, which have no effect: no route can use it",
  kafka: "is for the plugin kafka-proxy, which does not exist here: no route can use it",
};

function effectFaults(kind: string, value: Members): RecordFault[] {
  if (kind === "stream_route") {
    return [{ code: "without_effect", message: "stream routes are stored and listed, and have no effect" }];
  }
  if (kind === "proto")
    return [{ code: "without_effect", message: "protos are stored and listed, and have no effect" }];
  const scheme = own(kind === "upstream" ? value : ownMembers(value, "upstream"), "scheme");
  const what = typeof scheme === "string" ? SCHEMES_WITHOUT_EFFECT[scheme] : undefined;
  return what === undefined ? [] : [{ code: "without_effect", message: `scheme ${scheme} ${what}` }];
}

function textsOf(value: Members, one: string, many: string): readonly string[] {
  return [own(value, one), own(value, many)].flat().filter((text): text is string => typeof text === "string");
}

/**
 * What is suspicious about the certificates of an `ssls` record: names they do not cover, chains in the wrong order, times.
 */

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function certificateFaults(value: Members, nowMs: number): RecordFault[] {
  const all = [own(value, "cert"), own(value, "certs")].flat();
  const names = [own(value, "sni"), own(value, "snis")].flat().filter((name) => typeof name === "string");
  return all.flatMap((pem, at) => {
    if (typeof pem !== "string" || isReference(pem)) return [];
    const what = at === 0 ? "cert" : `certs[${at - 1}]`;
    return faultsOf(pem, own(value, "type") === "client" ? [] : names, nowMs).map(
      (message): RecordFault => ({ code: "certificate", message: `${what} ${message}` }),
    );
  });
}

function faultsOf(pem: string, names: readonly string[], nowMs: number): string[] {
  const chain = (pem.match(PEM) ?? []).flatMap(read);
  const [leaf] = chain;
  if (!leaf) return []; // the checks of the write speak of that
  const faults: string[] = [];
  if (Date.parse(leaf.validTo) <= nowMs) faults.push(`expired on ${leaf.validTo}`);
  if (Date.parse(leaf.validFrom) > nowMs) faults.push(`is not valid before ${leaf.validFrom}`);
  const uncovered = names.filter((name) => !covers(leaf, name));
  if (uncovered.length > 0)
    faults.push(`does not cover ${uncovered.join(", ")}: clients will refuse it for these names`);
  const broken = chain.findIndex((one, at) => at > 0 && chain[at - 1]?.issuer !== one.subject);
  if (broken > 0) {
    faults.push(
      `has a chain out of order: certificate ${broken + 1} did not issue certificate ${broken}; write the leaf first`,
    );
  }
  return faults;
}

function read(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)];
  } catch {
    return []; // the checks of the write speak of that
  }
}

/** A wildcard name is covered by the same one only. */
function covers(certificate: X509Certificate, name: string): boolean {
  const wanted = name.toLowerCase();
  if (wanted === "*") return true;
  if (!wanted.startsWith("*.")) return certificate.checkHost(wanted) !== undefined;
  const listed = (certificate.subjectAltName ?? "").toLowerCase().split(/,\s*/);
  return listed.includes(`dns:${wanted}`) || certificate.checkHost(`a${wanted.slice(1)}`) !== undefined;
}
