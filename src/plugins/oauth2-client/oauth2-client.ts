/**
 * oauth2-client: registers a consumer or credential as a client that may get tokens from authorization servers of ours.
 * On routes it does nothing; it stands on consumers and credentials. Source: docs/spec/tokens.md section 5.3.
 */
import { Type } from "typebox";
import type { KeyPairAlgorithm } from "../../base/jose/algorithms.ts";
import { definePlugin, type NodeEnv } from "../../plugin/plugin.ts";
import type { TokenKeys } from "../../plugin/tokens.ts";
import { certificateFitter, clientKeys, type FitsCertificate, selfSignedFitter } from "./certificate-fit.ts";
import { assertionKeys } from "./client-keys.ts";
import { type AuthMethod, ClientConf, clientError, scopesOf } from "./client-schema.ts";
import {
  completeSecrets,
  digestOf,
  doubtOf,
  type KnownSecret,
  knownSecret,
  rotateSecret,
  weaknessOf,
} from "./client-secrets.ts";

/** A client ready to be served. */
export interface ClientData {
  readonly method: AuthMethod;
  readonly secrets: readonly KnownSecret[];
  /** Public ones, of its assertions. */
  readonly keys: TokenKeys | undefined;
  /** undefined: all. */
  readonly servers: ReadonlySet<string> | undefined;
  readonly grants: ReadonlySet<string>;
  /** In the order in which they were written. */
  readonly scopes: ReadonlySet<string>;
  readonly defaultScopes: readonly string[];
  /** The first is the default; undefined: the server's. */
  readonly audiences: readonly string[] | undefined;
  /** What it is as an API; undefined: none. */
  readonly resources: ReadonlySet<string> | undefined;
  readonly introspects: boolean;
  readonly lifetimeSeconds: number | undefined;
  readonly algorithm: KeyPairAlgorithm | undefined;
  readonly claims: Readonly<Record<string, unknown>>;
  /** Only tokens that are bound to a DPoP key. */
  readonly needsProof: boolean;
  /** Only tokens that are bound to its certificate. */
  readonly needsCertificate: boolean;
  /** Whether a certificate is its own; undefined: it has none. */
  readonly fitsCertificate: FitsCertificate | undefined;
}

export const oauth2Client = definePlugin({
  name: "oauth2-client",
  version: 0.1,
  priority: 2_511,
  schema: Type.Object({}, { additionalProperties: false }),
  check: () => "oauth2-client stands on consumers and credentials: on a route use authorization-server",
  compile: () => ({}),
  credential: {
    schema: ClientConf,
    keyAttribute: "client_id",
    encryptFields: ["client_secret", "client_secrets.hash"],
    unshownFields: ["client_secrets.hash"],
    check(conf, write) {
      const weak = write && conf.client_secret !== undefined && weaknessOf(conf.client_secret, write.compat);
      const certificates = certificatesOf(conf);
      return weak || clientError(conf) || (typeof certificates === "string" ? certificates : undefined);
    },
    complete: completeSecrets,
    rotate: rotateSecret,
    doubt: doubtOf,
    compile: compileClient,
  },
});

function compileClient(conf: ClientConf, { tokens }: NodeEnv): ClientData {
  const { client_secret: secret, client_secrets: secrets = [], authorization_servers: servers } = conf;
  const scopes = scopesOf(conf.scope);
  const fits = certificatesOf(conf); // a text was refused by `check`
  return Object.freeze({
    method: conf.token_endpoint_auth_method,
    secrets: [
      ...(secret === undefined ? [] : [{ digest: digestOf(secret), notAfter: undefined }]),
      ...secrets.map(({ hash, not_after: notAfter }) => knownSecret(hash, notAfter)),
    ],
    keys: assertionKeys(conf, tokens),
    servers: servers && new Set(servers),
    grants: new Set(conf.grant_types),
    scopes: new Set(scopes),
    defaultScopes: conf.default_scope === undefined ? scopes : scopesOf(conf.default_scope),
    audiences: conf.audiences,
    resources: conf.resource === undefined ? undefined : new Set([conf.resource].flat()),
    introspects: conf.introspection,
    lifetimeSeconds: conf.access_token_lifetime,
    algorithm: conf.access_token_signing_alg,
    claims: conf.claims ?? {},
    needsProof: conf.dpop_bound_access_tokens ?? false,
    needsCertificate: conf.tls_client_certificate_bound_access_tokens ?? false,
    fitsCertificate: typeof fits === "string" ? undefined : fits,
  });
}

/** Whose certificates are the client's by its method. @returns text: what is wrong */
function certificatesOf(conf: ClientConf): FitsCertificate | string | undefined {
  const keys = conf.jwks === undefined ? [] : clientKeys(conf.jwks);
  if (typeof keys === "string") return keys;
  switch (conf.token_endpoint_auth_method) {
    case "tls_client_auth":
      return certificateFitter(conf);
    case "self_signed_tls_client_auth":
      return keys.length === 0
        ? "self_signed_tls_client_auth needs jwks with the certificate's key"
        : selfSignedFitter(keys);
    default:
      return undefined;
  }
}
