/**
 * What an authorization server publishes: its metadata and its keys, made when they change, never per request.
 * Sources: RFC 8414, OpenID Connect Discovery 1.0, RFC 7517, docs/spec/tokens.md section 6.
 */

import { KEY_PAIR_ALGORITHMS } from "../../base/jose/algorithms.ts";
import { DPOP_ALGORITHMS } from "../../plugin/judge/dpop-proof.ts";
import { type Answer, bareAnswer, textAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer, PublishedKeys } from "../../plugin/tokens.ts";
import { AUTH_METHODS, CLIENT_CREDENTIALS, TOKEN_EXCHANGE } from "../oauth2-client/client-schema.ts";

export const TOKEN_PATH = "/oauth2/token";
export const INTROSPECTION_PATH = "/oauth2/introspect";
export const REVOCATION_PATH = "/oauth2/revoke";
export const JWKS_PATH = "/.well-known/jwks.json";
const PROVING_METHODS = AUTH_METHODS.filter((method) => method !== "none");
const METADATA_AGE_SECONDS = 300;
const ANY_ORIGIN = ["Access-Control-Allow-Origin", "*"] as const;

/** @param serves endpoints that this route has; what it has not is not named */
export function metadataAnswer(
  { terms, scopesSupported, exchange }: AuthorizationServer,
  serves: ReadonlySet<string>,
): Answer {
  const { issuer, algorithms } = terms;
  const document = {
    issuer,
    ...(serves.has("token") && { token_endpoint: `${issuer}${TOKEN_PATH}` }),
    ...(serves.has("jwks") && { jwks_uri: `${issuer}${JWKS_PATH}` }),
    ...(serves.has("introspection") && {
      introspection_endpoint: `${issuer}${INTROSPECTION_PATH}`,
      introspection_endpoint_auth_methods_supported: PROVING_METHODS,
      introspection_endpoint_auth_signing_alg_values_supported: KEY_PAIR_ALGORITHMS,
    }),
    ...(serves.has("revocation") && {
      revocation_endpoint: `${issuer}${REVOCATION_PATH}`,
      revocation_endpoint_auth_methods_supported: PROVING_METHODS,
      revocation_endpoint_auth_signing_alg_values_supported: KEY_PAIR_ALGORITHMS,
    }),
    grant_types_supported: exchange === undefined ? [CLIENT_CREDENTIALS] : [CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
    response_types_supported: [],
    token_endpoint_auth_methods_supported: exchange?.federated.length ? AUTH_METHODS : PROVING_METHODS,
    token_endpoint_auth_signing_alg_values_supported: KEY_PAIR_ALGORITHMS,
    dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
    tls_client_certificate_bound_access_tokens: true,
    ...(scopesSupported !== undefined && { scopes_supported: scopesSupported }),
    id_token_signing_alg_values_supported: algorithms, // for readers that insist
    subject_types_supported: ["public"],
  };
  return textAnswer(200, JSON.stringify(document), "metadata", [
    ...["Content-Type", "application/json", "Cache-Control", `public, max-age=${METADATA_AGE_SECONDS}`],
    ...ANY_ORIGIN,
  ]);
}

interface KeyAnswers {
  readonly whole: Answer;
  readonly same: Answer;
}

const keyAnswers = new WeakMap<PublishedKeys, { readonly maxAge: number; readonly answers: KeyAnswers }>();

export function jwksAnswer(view: RequestView, server: AuthorizationServer): Answer {
  const published = server.published();
  const { jwksMaxAgeSeconds: maxAge } = server.terms;
  let known = keyAnswers.get(published);
  if (known?.maxAge !== maxAge) {
    known = { maxAge, answers: answersOf(published, maxAge) };
    keyAnswers.set(published, known);
  }
  const { whole, same } = known.answers;
  return isKnown(view.header("if-none-match"), published.etag) ? same : whole;
}

function answersOf({ body, etag }: PublishedKeys, maxAge: number): KeyAnswers {
  const headers = ["Cache-Control", `public, max-age=${maxAge}`, "ETag", etag, ...ANY_ORIGIN];
  return {
    whole: textAnswer(200, body, "jwks", ["Content-Type", "application/jwk-set+json", ...headers]),
    same: bareAnswer(304, "jwks_not_modified", headers),
  };
}

/** RFC 9110 section 13.1.2: compared weakly. */
function isKnown(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((one) => one.trim() === "*" || one.trim().replace(/^W\//, "") === etag);
}
