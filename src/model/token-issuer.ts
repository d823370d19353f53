/**
 * `token_issuer`: an external issuer whose tokens are trusted, and where its keys come from.
 * Source: docs/spec/tokens.md section 2.
 */
import { type Static, Type } from "typebox";
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm } from "../base/jose/algorithms.ts";
import { Certificate, Description, Id, Labels, Name, PEM_LENGTH_MAX, Timestamp } from "./shared-schema.ts";

/** One top-level member, literally; what begins with "/" is a JSON Pointer (RFC 6901). */
const Claim = (description: string, value?: string) =>
  Type.String({
    minLength: 1,
    maxLength: 256,
    pattern: "^([^/]|/([^~]|~[01])*$)",
    description: `${description}; a text that begins with "/" is a JSON Pointer`,
    ...(value !== undefined && { default: value }),
  });

const Url = (description: string) =>
  Type.String({ minLength: 1, maxLength: 2_048, pattern: "^https?://[^\\s#]+$", description });

const seconds = (least: number, most: number, value: number, description: string) =>
  Type.Integer({ minimum: least, maximum: most, default: value, description: `seconds; ${description}` });

export const TokenIssuer = Type.Object(
  {
    id: Type.Optional(Id),
    name: Type.Optional(Name),
    desc: Type.Optional(Description),
    labels: Type.Optional(Labels),
    create_time: Type.Optional(Timestamp),
    update_time: Type.Optional(Timestamp),
    issuer: Type.String({
      minLength: 1,
      maxLength: 2_048,
      pattern: "^[^\\u0000-\\u0020\\u007f]+$",
      description: "exact iss, compared as bytes; also the base of discovery",
    }),
    valid_issuers: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 2_048, pattern: "^[^\\u0000-\\u0020\\u007f]+$" }), {
        minItems: 1,
        maxItems: 16,
        uniqueItems: true,
        description: "all iss that are accepted; default: issuer. {tid} stands for the claim tid, see tenants",
      }),
    ),
    tenants: Type.Optional(
      Type.Array(Type.String({ pattern: "^(\\*|[0-9a-fA-F-]{36})$" }), {
        minItems: 1,
        maxItems: 1_000,
        uniqueItems: true,
        description: 'values of tid that {tid} accepts; ["*"]: any tenant',
      }),
    ),
    discovery: Type.Optional(Url("address of the metadata document; default: made from issuer")),
    jwks_uri: Type.Optional(Url("address of the JWK Set, instead of discovery")),
    jwks: Type.Optional(
      Type.Unsafe<Readonly<Record<string, unknown>>>({
        type: "object",
        required: ["keys"],
        properties: { keys: { type: "array", minItems: 1, maxItems: 1_000 } },
        description: "fixed keys as a JWK Set; nothing is fetched",
      }),
    ),
    public_key: Type.Optional(
      Type.String({
        minLength: 64,
        maxLength: PEM_LENGTH_MAX,
        description: "one fixed key as PEM; nothing is fetched",
      }),
    ),
    algorithms: Type.Optional(
      Type.Array(Type.Unsafe<KeyPairAlgorithm>({ type: "string", enum: [...KEY_PAIR_ALGORITHMS] }), {
        minItems: 1,
        uniqueItems: true,
        default: [...KEY_PAIR_ALGORITHMS],
        description: "the only ones accepted; there is no HS here",
      }),
    ),
    typ: Type.Optional(
      Type.Array(Type.String({ maxLength: 64 }), {
        minItems: 1,
        maxItems: 16,
        default: ["at+jwt", "JWT", ""],
        description: 'accepted typ of the header, any case, without application/; "": absent',
      }),
    ),
    audience_claim: Type.Optional(Claim("claim that holds the audience", "aud")),
    scope_claims: Type.Optional(
      Type.Array(Claim("claim that holds scopes"), {
        minItems: 1,
        maxItems: 8,
        default: ["scope", "scp"],
        description: "claims that hold scopes; all that exist are joined",
      }),
    ),
    consumer_claim: Type.Optional(Claim("claim that identifies the caller", "sub")),
    clock_skew: Type.Optional(seconds(0, 300, 30, "for exp, nbf and iat")),
    max_lifetime: Type.Optional(
      Type.Integer({ minimum: 1, description: "seconds; refuses a greater exp - iat, and then wants iat" }),
    ),
    refresh_interval: Type.Optional(seconds(60, 86_400, 300, "greatest age of a set while fetching works")),
    cooldown: Type.Optional(seconds(1, 300, 10, "least time between two fetches that tokens ask for")),
    stale_for: Type.Optional(seconds(0, 31_536_000, 86_400, "how long the last set serves while fetching fails")),
    timeout: Type.Optional(seconds(1, 30, 5, "of each fetch")),
    ca: Type.Optional(Certificate),
    ssl_verify: Type.Optional(Type.Boolean({ default: true })),
    allow_http: Type.Optional(
      Type.Boolean({ default: false, description: "keys may be fetched without TLS from hosts that are not loopback" }),
    ),
    bearer_token: Type.Optional(Type.String({ minLength: 1, maxLength: 16_384, description: "sent with each fetch" })),
    bearer_token_file: Type.Optional(
      Type.String({ minLength: 1, maxLength: 4_096, description: "file of each node, read for each fetch" }),
    ),
  },
  { additionalProperties: false },
);
export type TokenIssuer = Static<typeof TokenIssuer>;

/** What stands in `valid_issuers` for a tenant. */
export const TENANT = "{tid}";

/** All `iss` of a record as written, `{tid}` included. Reads what may not be valid. */
export function issuersOf(value: Readonly<Record<string, unknown>>): readonly string[] {
  const { issuer, valid_issuers: several } = value;
  const all: unknown[] = Array.isArray(several) ? several : [issuer];
  return [...new Set(all.filter((one): one is string => typeof one === "string"))];
}

/** An `iss` that both records would accept. */
export function sharedIssuer(
  one: Readonly<Record<string, unknown>>,
  other: Readonly<Record<string, unknown>>,
): string | undefined {
  const theirs = issuersOf(other);
  for (const iss of issuersOf(one))
    if (theirs.some((text) => meet(iss, one["tenants"], text, other["tenants"]))) return iss;
  return undefined;
}

function meet(one: string, tenants: unknown, other: string, otherTenants: unknown): boolean {
  const [isTemplate, isOtherTemplate] = [one.includes(TENANT), other.includes(TENANT)];
  if (isTemplate && !isOtherTemplate) return isOf(one, tenants, other);
  if (isOtherTemplate && !isTemplate) return isOf(other, otherTenants, one);
  if (one !== other) return false;
  const theirs = lowerCase(otherTenants);
  const mine = lowerCase(tenants);
  return !isTemplate || mine.has("*") || theirs.has("*") || [...mine].some((tenant) => theirs.has(tenant));
}

function isOf(template: string, tenants: unknown, iss: string): boolean {
  const [before = "", after = ""] = template.split(TENANT);
  const ends = iss.startsWith(before) && iss.endsWith(after);
  const tenant = ends ? iss.slice(before.length, iss.length - after.length).toLowerCase() : "";
  const known = lowerCase(tenants);
  return known.has(tenant) || (known.has("*") && /^[0-9a-f-]{36}$/.test(tenant));
}

function lowerCase(tenants: unknown): ReadonlySet<string> {
  return new Set(Array.isArray(tenants) ? tenants.map((one) => String(one).toLowerCase()) : []);
}
