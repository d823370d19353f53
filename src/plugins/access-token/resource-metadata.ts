/**
 * The metadata of an API as a protected resource: where it lies, and the document, made again when an issuer changes.
 * Promise: it is served to anybody and tells nothing but the configuration's own words and what issuers call themselves.
 * Source: RFC 9728, docs/spec/tokens.md section 4.
 */
import { normalisePath } from "../../base/net/path.ts";
import { DPOP_ALGORITHMS } from "../../plugin/judge/dpop-proof.ts";
import { type Answer, bareAnswer, textAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { TokenIssuers } from "../../plugin/tokens.ts";

export type PublishMetadata = (view: RequestView) => Answer | undefined;

interface ResourceConf {
  readonly resource?: string;
  readonly resource_metadata: boolean;
  readonly required_scopes: readonly string[];
  readonly any_scopes: readonly string[];
  readonly header: string;
  readonly query?: string;
  readonly dpop: string;
}

const WRONG_METHOD = bareAnswer(405, "method_not_allowed", ["Allow", "GET, HEAD"]);
const HEADERS = [
  ...["Content-Type", "application/json", "Cache-Control", "public, max-age=300"],
  ...["Access-Control-Allow-Origin", "*"],
] as const;

/** RFC 9728 section 3.1. @param resource a URL that can be parsed */
export function metadataUrl(resource: string): URL {
  const url = new URL(resource);
  const { pathname } = url;
  url.pathname = `/.well-known/oauth-protected-resource${pathname === "/" ? "" : pathname}`;
  return url;
}

/** As requests have it; undefined: no request can. */
export function metadataPathOf(resource: string): string | undefined {
  return normalisePath(metadataUrl(resource).pathname)?.path;
}

/** @returns undefined where none is to be served */
export function compileMetadata(conf: ResourceConf, issuers: TokenIssuers): PublishMetadata | undefined {
  const { resource } = conf;
  if (!conf.resource_metadata || resource === undefined) return undefined;
  const path = metadataPathOf(resource);
  const { search } = metadataUrl(resource);
  let names: readonly string[] | undefined;
  let document = WRONG_METHOD;
  return (view) => {
    if (view.path !== path || (search !== "" && view.query !== search.slice(1))) return undefined;
    if (view.method !== "GET" && view.method !== "HEAD") return WRONG_METHOD;
    const now = issuers.names();
    if (now !== names) {
      names = now;
      document = documentOf(conf, now);
    }
    return document;
  };
}

function documentOf(conf: ResourceConf, issuers: readonly string[]): Answer {
  const scopes = [...new Set([...conf.required_scopes, ...conf.any_scopes])];
  // The methods of RFC 6750; other headers, names and cookies have no word there.
  const methods = [
    ...(conf.header.toLowerCase() === "authorization" ? ["header"] : []),
    ...(conf.query === "access_token" ? ["query"] : []),
  ];
  const document = {
    resource: conf.resource,
    ...(issuers.length > 0 && { authorization_servers: issuers }),
    ...(scopes.length > 0 && { scopes_supported: scopes }),
    bearer_methods_supported: conf.dpop === "required" ? [] : methods,
    tls_client_certificate_bound_access_tokens: true,
    dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
    ...(conf.dpop === "required" && { dpop_bound_access_tokens_required: true }),
  };
  return textAnswer(200, JSON.stringify(document), "resource_metadata", HEADERS);
}
