/**
 * `authorization_server`: an issuer of access tokens that is us.
 * Source: docs/spec/tokens.md section 5.1.
 */
import { type Static, Type } from "typebox";
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm } from "../base/jose/algorithms.ts";
import { Description, Id, Labels, Name, Timestamp } from "./shared-schema.ts";

const DAY = 86_400;
export const LIFETIME_MAX_SECONDS = 365 * DAY;

export const SigningAlgorithm = Type.Unsafe<KeyPairAlgorithm>({ type: "string", enum: [...KEY_PAIR_ALGORITHMS] });
/** RFC 6749 appendix A.4. */
export const SCOPE_TOKEN = "^[\\x21\\x23-\\x5b\\x5d-\\x7e]{1,256}$";
export const Audience = Type.String({ minLength: 1, maxLength: 2_048, pattern: "^[\\x21-\\x7e]+$" });

const lifetime = (value: number, description: string) =>
  Type.Integer({ minimum: 1, maximum: LIFETIME_MAX_SECONDS, default: value, description: `seconds; ${description}` });

const KeyRotation = Type.Object(
  {
    interval: Type.Optional(
      Type.Integer({
        ...{ minimum: 0, maximum: LIFETIME_MAX_SECONDS, default: 30 * DAY },
        description: "seconds that a key signs; 0: keys change by hand only",
      }),
    ),
    publish_ahead: Type.Optional(
      Type.Integer({
        ...{ minimum: 1, maximum: 30 * DAY, default: DAY },
        description: "seconds that a key is published before it signs; at least jwks_max_age",
      }),
    ),
  },
  { additionalProperties: false },
);

const IssuerIds = (description: string) =>
  Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { ...{ maxItems: 100, uniqueItems: true }, description }),
  );

const TokenExchange = Type.Object(
  {
    enabled: Type.Boolean(),
    issuers: IssuerIds("token issuers whose tokens clients may exchange; ours may be always"),
    subject_audiences: Type.Optional(
      Type.Array(Audience, {
        ...{ minItems: 1, maxItems: 100, uniqueItems: true },
        description: "one of them is in a subject token of another issuer",
      }),
    ),
    federated: IssuerIds("token issuers whose tokens are all that a client without a secret shows"),
    delegation: Type.Optional(
      Type.Boolean({ description: "whether an actor_token may say who acts; default: the client does" }),
    ),
  },
  { additionalProperties: false },
);

export const AuthorizationServer = Type.Object(
  {
    id: Type.Optional(Id),
    name: Type.Optional(Name),
    desc: Type.Optional(Description),
    labels: Type.Optional(Labels),
    create_time: Type.Optional(Timestamp),
    update_time: Type.Optional(Timestamp),
    issuer: Type.String({
      minLength: 1,
      maxLength: 1_024,
      pattern: "^https?://[\\x21\\x22\\x24-\\x3e\\x40-\\x7e]+$",
      description: "iss of its tokens: https, without query, fragment and slash at the end (http on loopback only)",
    }),
    algorithms: Type.Optional(
      Type.Array(SigningAlgorithm, {
        ...{ minItems: 1, maxItems: KEY_PAIR_ALGORITHMS.length, uniqueItems: true, default: ["ES256"] },
        description: "one signing key each; the first is the default",
      }),
    ),
    access_token_lifetime: Type.Optional(lifetime(3_600, "of a token, where the client says nothing else")),
    max_access_token_lifetime: Type.Optional(lifetime(DAY, "what no client goes beyond")),
    default_audience: Type.Optional(Audience),
    scopes_supported: Type.Optional(
      Type.Array(Type.String({ pattern: SCOPE_TOKEN }), {
        ...{ maxItems: 1_000, uniqueItems: true },
        description: "when given, tokens hold no others",
      }),
    ),
    dpop_nonce: Type.Optional(
      Type.Boolean({ default: false, description: "DPoP proofs at the token endpoint need a nonce of the server" }),
    ),
    key_rotation: Type.Optional(KeyRotation),
    token_exchange: Type.Optional(TokenExchange),
    client_assertion_audience: Type.Optional(
      Type.Unsafe<"issuer" | "issuer_or_token_endpoint">({
        ...{ type: "string", enum: ["issuer", "issuer_or_token_endpoint"] },
        description: "aud of assertions of clients; default: issuer_or_token_endpoint, in strict issuer",
      }),
    ),
    assertion_replay: Type.Optional(
      Type.Unsafe<"node" | "cluster">({
        ...{ type: "string", enum: ["node", "cluster"], default: "node" },
        description: "where an assertion of a client counts once; cluster: each is written to the store",
      }),
    ),
    jwks_max_age: Type.Optional(
      Type.Integer({ minimum: 1, maximum: DAY, default: 300, description: "seconds; Cache-Control of the JWK Set" }),
    ),
  },
  { additionalProperties: false },
);
export type AuthorizationServer = Static<typeof AuthorizationServer>;

/** What the record says once defaults are filled. */
export interface ServerTerms {
  readonly issuer: string;
  readonly algorithms: readonly KeyPairAlgorithm[];
  readonly lifetimeSeconds: number;
  readonly maxLifetimeSeconds: number;
  readonly rotation: { readonly intervalSeconds: number; readonly aheadSeconds: number };
  readonly jwksMaxAgeSeconds: number;
}

export function termsOf(record: AuthorizationServer): ServerTerms {
  const { key_rotation: rotation = {}, max_access_token_lifetime: most = DAY } = record;
  return {
    issuer: record.issuer,
    algorithms: record.algorithms ?? ["ES256"],
    lifetimeSeconds: Math.min(record.access_token_lifetime ?? 3_600, most),
    maxLifetimeSeconds: most,
    rotation: { intervalSeconds: rotation.interval ?? 30 * DAY, aheadSeconds: rotation.publish_ahead ?? DAY },
    jwksMaxAgeSeconds: record.jwks_max_age ?? 300,
  };
}

/** @param value satisfies the schema @returns the error's text, what and the cure */
export function authorizationServerError(value: AuthorizationServer): string | undefined {
  return issuerError(value.issuer) ?? timesError(value) ?? exchangeError(value);
}

function issuerError(issuer: string): string | undefined {
  if (issuer.endsWith("/")) return "issuer ends with a slash: leave it away, as it is compared byte for byte";
  let url: URL;
  try {
    url = new URL(issuer);
  } catch {
    return "issuer is no URL";
  }
  const { hostname, protocol, username, password, pathname } = url;
  if (username !== "" || password !== "") return "issuer holds a user name or password";
  if (protocol === "http:" && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname))
    return "issuer is http: use https, which verifiers demand (http on loopback only)";
  const path = pathname === "/" ? "" : pathname;
  if (`${url.origin}${path}` !== issuer) return `issuer is not in its plain form: write ${url.origin}${path}`;
  return undefined;
}

function exchangeError({ token_exchange: exchange }: AuthorizationServer): string | undefined {
  const { issuers = [], federated = [], subject_audiences: audiences } = exchange ?? {};
  return issuers.length + federated.length > 0 && audiences === undefined
    ? "token_exchange needs subject_audiences: whoever was merely shown a token could trade it otherwise"
    : undefined;
}

function timesError(value: AuthorizationServer): string | undefined {
  const { access_token_lifetime: lifetime } = value;
  const { maxLifetimeSeconds: most, rotation, jwksMaxAgeSeconds: age } = termsOf(value);
  if (lifetime !== undefined && lifetime > most)
    return `access_token_lifetime ${lifetime} is above max_access_token_lifetime ${most}`;
  const { intervalSeconds: interval, aheadSeconds: ahead } = rotation;
  if (ahead < age)
    return `key_rotation.publish_ahead ${ahead} is below jwks_max_age ${age}: verifiers would not know a new key yet`;
  if (interval !== 0 && interval <= ahead)
    return `key_rotation.interval ${interval} is not above publish_ahead ${ahead}: set it to 0 to change keys by hand`;
  return undefined;
}
