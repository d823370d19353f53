/**
 * What an operator writes for openid-connect: APISIX's names and defaults, of the mode without browsers (`bearer_only`).
 * Members of the browser's flow are taken and without effect; what would weaken the judgement of tokens is refused.
 * Source: APISIX 3.18 openid-connect; docs/spec/tokens.md section 11.
 */
import { type Static, Type } from "typebox";
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm } from "../../base/jose/algorithms.ts";
import { pemKeyOf } from "../../base/jose/jwk.ts";
import { claimNameError } from "../../base/jose/token.ts";
import { isReference } from "../../base/reference.ts";
import { Defaulted } from "../../plugin/plugin.ts";
import { isHeaderName } from "../shared/header-operations.ts";
import { Realm, Words } from "../shared/schema-parts.ts";
import { userSchemaError } from "../shared/user-schema.ts";

const Texts = Type.Array(Type.String());
const Flag = (normal: boolean) => Defaulted(Type.Boolean({ default: normal }));

export const Conf = Type.Object({
  client_id: Type.String(),
  client_secret: Type.Optional(Type.String()),
  discovery: Type.String(),
  bearer_only: Flag(false),
  realm: Realm("apisix"),
  /** `"no"`: as old records have it. */
  ssl_verify: Defaulted(Type.Unsafe<boolean | "no">({ anyOf: [{ type: "boolean" }, { enum: ["no"] }], default: true })),
  /** Seconds; whole thousands are milliseconds, as old records have them. */
  timeout: Defaulted(Type.Integer({ minimum: 1, default: 3 })),
  public_key: Type.Optional(Type.String()),
  use_jwks: Flag(false),
  token_signing_alg_values_expected: Type.Optional(Type.String()),
  jwk_expires_in: Defaulted(Type.Integer({ default: 86_400 })),
  iat_slack: Defaulted(Type.Integer({ default: 120 })),
  accept_none_alg: Flag(false),
  introspection_endpoint: Type.Optional(Type.String()),
  introspection_endpoint_auth_method: Defaulted(Type.String({ default: "client_secret_basic" })),
  introspection_interval: Defaulted(Type.Integer({ default: 0 })),
  introspection_expiry_claim: Type.Optional(Type.String()),
  introspection_addon_headers: Type.Optional(Type.Array(Type.String({ pattern: "^[^:]+$" }), { minItems: 1 })),
  claim_validator: Type.Optional(
    Type.Object({
      issuer: Type.Optional(Type.Object({ valid_issuers: Type.Optional(Texts) })),
      audience: Type.Optional(
        Type.Object({
          claim: Defaulted(Type.String({ default: "aud" })),
          required: Flag(false),
          match_with_client_id: Flag(false),
        }),
      ),
    }),
  ),
  required_scopes: Type.Optional(Texts),
  claim_schema: Type.Optional(Type.Unsafe<object>({ type: "object" })),
  set_access_token_header: Flag(true),
  access_token_in_authorization_header: Flag(false),
  set_userinfo_header: Flag(true),
  unauth_action: Defaulted(Words(["auth", "deny", "pass"], { default: "auth" })),
});
export type Conf = Static<typeof Conf>;

/** Of the members that are taken, those that are secret, of the browser's flow too. */
export const SECRETS = [
  "client_secret",
  "client_rsa_private_key",
  "dpop.private_key",
  "session.secret",
  "session.redis.password",
];

const METHODS = ["client_secret_basic", "client_secret_post"];

/** Who judges a token: this node by keys, or the issuer itself. */
export function asksIssuer({ public_key: key, use_jwks: jwks }: Conf): boolean {
  return key === undefined && !jwks;
}

/** @returns what is wrong with it beyond the schema */
export function confError(conf: Conf): string | undefined {
  if (!conf.bearer_only) return "openid-connect: only bearer_only: true is supported";
  if (asksIssuer(conf) && conf.client_secret === undefined) return 'property "client_secret" is required';
  if (conf.accept_none_alg) return "accept_none_alg: true is not supported: a token without signature is nobody's word";
  const { introspection_endpoint_auth_method: method, token_signing_alg_values_expected: algorithm } = conf;
  if (asksIssuer(conf) && !METHODS.includes(method))
    return `introspection_endpoint_auth_method: ${method} is not supported; ${METHODS.join(" and ")} are`;
  if (algorithm !== undefined && !isReference(algorithm) && !isAlgorithm(algorithm))
    return `token_signing_alg_values_expected: ${algorithm} is none of ${KEY_PAIR_ALGORITHMS.join(", ")}`;
  const { public_key: pem, claim_validator: validator } = conf;
  const keyError = pem === undefined || isReference(pem) ? undefined : pemKeyOf(pem, new Set(KEY_PAIR_ALGORITHMS));
  if (typeof keyError === "string") return `public_key: ${keyError}`;
  if (validator?.issuer?.valid_issuers?.length === 0) return "claim_validator.issuer.valid_issuers is empty: nobody";
  const claimError = claimNameError(validator?.audience?.claim || "aud");
  if (claimError !== undefined) return `claim_validator.audience.claim: ${claimError}`;
  return addressError(conf) ?? headersError(conf) ?? schemaError(conf);
}

function isAlgorithm(name: string): name is KeyPairAlgorithm {
  return (KEY_PAIR_ALGORITHMS as readonly string[]).includes(name);
}

function addressError(conf: Conf): string | undefined {
  for (const name of ["discovery", "introspection_endpoint"] as const) {
    const address = conf[name];
    if (address === undefined || isReference(address)) continue;
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (url?.protocol !== "https:" && url?.protocol !== "http:") return `${name} is no http or https address`;
    if (url.username !== "" || url.password !== "") return `${name} holds a user or a password`;
  }
  return undefined;
}

/** What HTTP itself or the authentication of this node needs. */
const NOT_SENT =
  /^(?:authorization|host|content-.*|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect)$/i;

function headersError({ introspection_addon_headers: names = [] }: Conf): string | undefined {
  const wrong = names.find((name) => !isHeaderName(name) || NOT_SENT.test(name));
  return wrong && `introspection_addon_headers: ${JSON.stringify(wrong)} cannot be sent`;
}

function schemaError({ claim_schema: schema }: Conf): string | undefined {
  const error = userSchemaError(schema);
  return error && `check claim_schema failed: ${error}`;
}

/** The only algorithm, if one is named. */
export function algorithmsOf({
  token_signing_alg_values_expected: name,
}: Conf): readonly KeyPairAlgorithm[] | undefined {
  return name !== undefined && isAlgorithm(name) ? [name] : undefined;
}

const TIMEOUT_MAX_SECONDS = 30;

export function timeoutSecondsOf({ timeout }: Conf): number {
  const seconds = timeout >= 1_000 && timeout % 1_000 === 0 ? timeout / 1_000 : timeout;
  return Math.min(TIMEOUT_MAX_SECONDS, seconds);
}
