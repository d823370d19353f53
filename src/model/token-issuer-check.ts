/**
 * What a token issuer must satisfy beyond its schema: one source of keys, addresses that may be called, keys that can be used.
 * Pure. Source: docs/spec/tokens.md section 2.
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { KEY_PAIR_ALGORITHMS } from "../base/jose/algorithms.ts";
import { type JwkSet, jwkSetOf, pemKeyOf } from "../base/jose/jwk.ts";
import { isReference } from "../base/reference.ts";
import { issuersOf, TENANT, type TokenIssuer } from "./token-issuer.ts";

const SOURCES = ["discovery", "jwks_uri", "jwks", "public_key"] as const;

/** @param value satisfies the schema @returns the error's text, what and the cure */
export function tokenIssuerError(value: TokenIssuer): string | undefined {
  const sources = SOURCES.filter((name) => value[name] !== undefined);
  if (sources.length > 1) return `${sources.join(" and ")}: keys come from one of them only`;
  return (
    tenantError(value) ?? fixedKeyError(value) ?? addressError(value) ?? tokenError(value) ?? authorityError(value)
  );
}

/** The fixed keys of a record; undefined: they are fetched; text: why they cannot be used. */
export function fixedKeysOf(value: TokenIssuer): JwkSet | string | undefined {
  const accepted = new Set(value.algorithms ?? KEY_PAIR_ALGORITHMS);
  if (value.jwks !== undefined) return jwkSetOf(value.jwks, accepted);
  if (value.public_key === undefined) return undefined;
  const key = pemKeyOf(value.public_key, accepted);
  return typeof key === "string" ? key : { keys: [key], skipped: [] };
}

/** Where keys are fetched; the first that answers other than 404 counts. Empty: nowhere. */
export function fetchAddresses(value: TokenIssuer): readonly string[] {
  if (value.jwks !== undefined || value.public_key !== undefined) return [];
  if (value.jwks_uri !== undefined) return [value.jwks_uri];
  if (value.discovery !== undefined) return [value.discovery];
  const { issuer } = value;
  const openid = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  if (!URL.canParse(issuer)) return [openid];
  const { origin, pathname } = new URL(issuer);
  return [openid, `${origin}/.well-known/oauth-authorization-server${pathname.replace(/\/$/, "")}`];
}

/** Why an address may not be called, with where it came from. */
export function fetchAddressError(address: string, where: string, allowHttp: boolean): string | undefined {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:")) return `${where} is no http or https address`;
  if (url.username !== "" || url.password !== "") return `${where} holds credentials; use bearer_token`;
  if (url.protocol === "http:" && !isLoopback(url.hostname) && !allowHttp)
    return `${where} must be https, or allow_http true`;
  return undefined;
}

/** Whether a fetch may go without TLS to another machine. */
export function usesPlainHttp(value: TokenIssuer): boolean {
  return fetchAddresses(value).some((address) => fetchAddressError(address, "", false) !== undefined);
}

function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "");
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

function tenantError(value: TokenIssuer): string | undefined {
  const templates = issuersOf(value).filter((iss) => iss.includes(TENANT));
  const { tenants } = value;
  if (templates.length === 0) return tenants && `tenants is for issuers with ${TENANT}, and there is none`;
  if (tenants === undefined) return `valid_issuers with ${TENANT} needs tenants: their ids, or ["*"] for any`;
  if (tenants.length > 1 && tenants.includes("*")) return 'tenants: "*" stands alone';
  const twice = templates.find((iss) => iss.indexOf(TENANT) !== iss.lastIndexOf(TENANT));
  return twice && `valid_issuers: ${TENANT} may stand once in ${twice}`;
}

function fixedKeyError(value: TokenIssuer): string | undefined {
  const fixed = fixedKeysOf(value);
  if (typeof fixed !== "string") return undefined;
  return `${value.jwks === undefined ? "public_key" : "jwks"}: ${fixed}`;
}

function addressError(value: TokenIssuer): string | undefined {
  const where = value.jwks_uri === undefined ? (value.discovery === undefined ? "issuer" : "discovery") : "jwks_uri";
  for (const address of fetchAddresses(value)) {
    const error = fetchAddressError(address, where, value.allow_http === true);
    if (error === undefined) continue;
    return where === "issuer" ? `${error}; or give discovery, jwks_uri, jwks or public_key` : error;
  }
  return undefined;
}

function tokenError({ bearer_token: token, bearer_token_file: file }: TokenIssuer): string | undefined {
  if (token !== undefined && file !== undefined) return "bearer_token and bearer_token_file: one of them only";
  if (token !== undefined && isReference(token))
    return "bearer_token cannot be a reference; use bearer_token_file, which is read for each fetch";
  if (token !== undefined && !/^[!-~]+$/.test(token)) return "bearer_token holds a character that no header value has";
  return undefined;
}

function authorityError({ ca }: TokenIssuer): string | undefined {
  if (ca === undefined) return undefined;
  try {
    return new X509Certificate(ca) && undefined;
  } catch {
    return "ca is not a PEM certificate";
  }
}
