/**
 * The consumer side of oauth2-client: a machine that may get tokens, in the names of RFC 7591.
 * Source: docs/spec/tokens.md section 5.3.
 */
import { type Static, Type } from "typebox";
import {
  Audience,
  LIFETIME_MAX_SECONDS,
  SCOPE_TOKEN,
  SigningAlgorithm,
} from "../../model/authorization-server-record.ts";
import { fetchAddressError } from "../../model/token-issuer-check.ts";
import { Defaulted } from "../../plugin/plugin.ts";

export const SECRETS_MAX = 4;
export const AUTH_METHODS = [
  "client_secret_basic",
  "client_secret_post",
  "tls_client_auth",
  "self_signed_tls_client_auth",
  "private_key_jwt",
  "none",
] as const;
export type AuthMethod = (typeof AUTH_METHODS)[number];
export const CLIENT_CREDENTIALS = "client_credentials";
export const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

const Scopes = (description: string) =>
  Type.String({
    maxLength: 16_384,
    pattern: "^([\\x21\\x23-\\x5b\\x5d-\\x7e]+( [\\x21\\x23-\\x5b\\x5d-\\x7e]+)*)?$",
    description,
  });

const Secret = Type.Object(
  {
    /** Not shown; whoever puts back what was shown leaves it out. */
    hash: Type.String({ pattern: "^sha256:[A-Za-z0-9_-]{43}$" }),
    created: Type.Optional(Type.Integer({ minimum: 0 })),
    not_after: Type.Optional(Type.Integer({ minimum: 0 })),
  },
  { additionalProperties: false },
);

const CertificateName = Type.Optional(Type.String({ minLength: 1, maxLength: 1_024 }));

export const ClientConf = Type.Object(
  {
    client_id: Type.String({ minLength: 1, maxLength: 128, pattern: "^[A-Za-z0-9._~-]+$" }),
    authorization_servers: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 32, uniqueItems: true }),
    ),
    token_endpoint_auth_method: Defaulted(
      Type.Unsafe<AuthMethod>({ type: "string", enum: AUTH_METHODS, default: AUTH_METHODS[0] }),
    ),
    /** Written, never stored but as a reference. */
    client_secret: Type.Optional(Type.String({ minLength: 1, maxLength: 1_024 })),
    client_secrets: Type.Optional(Type.Array(Secret, { maxItems: SECRETS_MAX })),
    grant_types: Defaulted(
      Type.Array(Type.Unsafe<string>({ type: "string", enum: [CLIENT_CREDENTIALS, TOKEN_EXCHANGE] }), {
        ...{ maxItems: 2, uniqueItems: true, default: [CLIENT_CREDENTIALS] },
      }),
    ),
    scope: Defaulted({ ...Scopes("what may be asked for, parted by single blanks"), default: "" }),
    default_scope: Type.Optional(Scopes("granted when nothing is asked for; default: all of scope")),
    audiences: Type.Optional(Type.Array(Audience, { minItems: 1, maxItems: 100, uniqueItems: true })),
    resource: Type.Optional(
      Type.Union([Audience, Type.Array(Audience, { minItems: 1, maxItems: 100, uniqueItems: true })]),
    ),
    introspection: Defaulted(Type.Boolean({ default: false })),
    access_token_lifetime: Type.Optional(Type.Integer({ minimum: 1, maximum: LIFETIME_MAX_SECONDS })),
    access_token_signing_alg: Type.Optional(SigningAlgorithm),
    dpop_bound_access_tokens: Type.Optional(Type.Boolean()),
    tls_client_certificate_bound_access_tokens: Type.Optional(Type.Boolean()),
    tls_client_auth_subject_dn: CertificateName,
    tls_client_auth_san_dns: CertificateName,
    tls_client_auth_san_uri: CertificateName,
    tls_client_auth_san_ip: CertificateName,
    tls_client_auth_san_email: CertificateName,
    /** Public keys. */
    jwks: Type.Optional(Type.Unsafe<Readonly<Record<string, unknown>>>({ type: "object" })),
    /** Where the keys of its assertions are. */
    jwks_uri: Type.Optional(Type.String({ minLength: 1, maxLength: 2_048 })),
    claims: Type.Optional(
      Type.Record(Type.String({ minLength: 1, maxLength: 256 }), Type.Unknown(), { maxProperties: 64 }),
    ),
  },
  { additionalProperties: false },
);
export type ClientConf = Static<typeof ClientConf>;

const CLAIMS_MAX_BYTES = 2_048;
/** Registered by RFC 7519 and 9068, or ours to say. */
const RESERVED: ReadonlySet<string> = new Set(
  "iss sub aud exp nbf iat jti scope client_id cnf act may_act auth_time acr amr azp sid nonce __proto__".split(" "),
);
const SCOPE = new RegExp(SCOPE_TOKEN);

/** Without a proof of its own a client gets tokens for a token of a federated issuer only. */
function grantError({ token_endpoint_auth_method: method, grant_types: grants }: ClientConf): string | undefined {
  return method === "none" && !(grants.length === 1 && grants[0] === TOKEN_EXCHANGE)
    ? `token_endpoint_auth_method none needs grant_types ["${TOKEN_EXCHANGE}"]`
    : undefined;
}

function proofError({ token_endpoint_auth_method: method, jwks_uri: uri, ...conf }: ClientConf): string | undefined {
  if (!method.startsWith("client_secret_") && conf.client_secret !== undefined)
    return `client_secret is of no use with token_endpoint_auth_method ${method}`;
  if (method !== "private_key_jwt")
    return uri && `jwks_uri is of no use with token_endpoint_auth_method ${method}: it is for private_key_jwt`;
  if ((uri === undefined) === (conf.jwks === undefined)) return "private_key_jwt needs one of jwks, jwks_uri";
  return uri && fetchAddressError(uri, "jwks_uri", false)?.replace(/, or .*/, "");
}

/** @returns the error's text */
export function clientError(conf: ClientConf): string | undefined {
  const unproven = proofError(conf) ?? grantError(conf);
  if (unproven !== undefined) return unproven;
  const scopes = scopesOf(conf.scope ?? "");
  const long = scopes.find((one) => !SCOPE.test(one));
  if (long !== undefined) return "scope holds one of more than 256 characters";
  const beyond = scopesOf(conf.default_scope ?? "").find((one) => !scopes.includes(one));
  if (beyond !== undefined) return `default_scope ${beyond} is not in scope`;
  if (conf.introspection && conf.resource === undefined)
    return "introspection needs resource: under which identifiers is this client an API?";
  const { claims = {} } = conf;
  const reserved = Object.keys(claims).find((name) => RESERVED.has(name));
  if (reserved !== undefined) return `claims must not hold ${reserved}: it is set by the authorization server`;
  const bytes = Buffer.byteLength(JSON.stringify(claims));
  return bytes > CLAIMS_MAX_BYTES
    ? `claims are ${bytes} bytes, at most ${CLAIMS_MAX_BYTES} go into a token`
    : undefined;
}

/** @param text single blanks part them */
export function scopesOf(text: string): readonly string[] {
  return text === "" ? [] : text.split(" ");
}
