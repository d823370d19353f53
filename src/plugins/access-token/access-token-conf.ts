/**
 * What an operator writes for access-token, on a route and on a consumer or credential.
 * What is not here yet is refused with a sentence: a configuration that is taken is enforced.
 * Source: docs/spec/tokens.md section 4.
 */
import { type Static, Type } from "typebox";
import { type Claims, claimNameError, compileClaim, type ReadClaim } from "../../base/jose/token.ts";
import { checkExpression, compileExpression } from "../../model/expression.ts";
import { Defaulted } from "../../plugin/plugin.ts";
import { foldHeaderName, isHeaderName } from "../shared/header-operations.ts";
import { ReplayMembers, replayError } from "../shared/replay-conf.ts";
import { AnonymousConsumer, Realm, Words } from "../shared/schema-parts.ts";
import { metadataPathOf } from "./resource-metadata.ts";

const Ids = Type.Array(Type.String({ pattern: "^[a-zA-Z0-9-_.]{1,64}$" }), {
  minItems: 1,
  maxItems: 100,
  uniqueItems: true,
});
/** RFC 6749 appendix A.4. */
const Scopes = Type.Array(Type.String({ pattern: "^[\\x21\\x23-\\x5B\\x5D-\\x7E]{1,256}$" }), {
  maxItems: 100,
  uniqueItems: true,
});
const ClaimName = Type.String({ minLength: 1, maxLength: 512 });
const HeaderName = Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$" });
const ArgumentName = Type.String({ minLength: 1, maxLength: 128 });
/** RFC 6265 section 4.1.1: a token, as a header's name is. */
const CookieName = Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$" });
const Proof = Defaulted(Words(["optional", "required"], { default: "optional" }));

export const RouteConf = Type.Object(
  {
    issuers: Type.Optional(Ids),
    authorization_servers: Type.Optional(Ids),
    audiences: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 1_024 }), { minItems: 1, maxItems: 32, uniqueItems: true }),
    ),
    skip_audience_check: Defaulted(Type.Boolean({ default: false })),
    required_scopes: Defaulted(Type.Unsafe<readonly string[]>({ ...Scopes, default: [] })),
    any_scopes: Defaulted(Type.Unsafe<readonly string[]>({ ...Scopes, default: [] })),
    claim_rules: Type.Optional(Type.Unsafe<readonly unknown[]>({ type: "array" })),
    header: Defaulted(Type.Unsafe<string>({ ...HeaderName, default: "authorization" })),
    query: Type.Optional(ArgumentName),
    cookie: Type.Optional(CookieName),
    hide_credentials: Defaulted(Type.Boolean({ default: false })),
    consumer_by: Defaulted(Words(["credential", "username", "custom_id", "none"], { default: "credential" })),
    consumer_claim: Type.Optional(ClaimName),
    consumer_optional: Defaulted(Type.Boolean({ default: false })),
    anonymous_consumer: AnonymousConsumer,
    claim_headers: Defaulted(
      Type.Unsafe<Readonly<Record<string, string>>>({
        type: "object",
        maxProperties: 32,
        propertyNames: HeaderName,
        additionalProperties: ClaimName,
        default: {},
      }),
    ),
    payload_header: Type.Optional(HeaderName),
    dpop: Proof,
    ...ReplayMembers,
    mtls: Proof,
    resource: Type.Optional(Type.String({ pattern: '^https?://[^\\s"\\\\#]+$', maxLength: 1_024 })),
    resource_metadata: Defaulted(Type.Boolean({ default: false })),
    realm: Realm("api"),
  },
  { additionalProperties: false },
);
export type RouteConf = Static<typeof RouteConf>;

export const ConsumerConf = Type.Object(
  { identity: Type.String({ minLength: 3, maxLength: 1_024 }) },
  { additionalProperties: false },
);

/** @returns what is wrong with it beyond the schema */
export function routeConfError(conf: RouteConf): string | undefined {
  if (conf.issuers === undefined && conf.authorization_servers === undefined)
    return "one of issuers, authorization_servers is required";
  if (conf.audiences === undefined && !conf.skip_audience_check) {
    return "audiences is required: without it a token for another API would pass; skip_audience_check: true lets it";
  }
  if (conf.audiences !== undefined && conf.skip_audience_check) {
    return "skip_audience_check: true and audiences exclude each other";
  }
  if (conf.dpop === "required" && conf.header.toLowerCase() !== "authorization")
    return 'dpop: "required" needs header: "authorization": proofs come with the scheme DPoP';
  const { resource } = conf;
  if (resource !== undefined && !URL.canParse(resource)) return `resource: ${JSON.stringify(resource)} is no URL`;
  if (conf.resource_metadata) {
    if (resource === undefined) return "resource_metadata: true needs resource, the identifier of this API";
    if (metadataPathOf(resource) === undefined)
      return `resource: ${JSON.stringify(resource)} has a path that no request can have, so its metadata cannot be served`;
  }
  return replayError(conf) ?? claimsError(conf) ?? headersError(conf);
}

function claimsError(conf: RouteConf): string | undefined {
  const { claim_rules: rules, consumer_claim: claim } = conf;
  const ruleError = rules && (checkExpression(rules) ?? claimNamesIn(rules).map(claimNameError).find(Boolean));
  if (ruleError) return `claim_rules: ${ruleError}`;
  const claimError = claim === undefined ? undefined : claimNameError(claim);
  if (claimError !== undefined) return `consumer_claim: ${claimError}`;
  if (claim !== undefined && conf.consumer_by === "none") return 'consumer_claim has no use with consumer_by: "none"';
  for (const name of Object.values(conf.claim_headers)) {
    const error = claimNameError(name);
    if (error !== undefined) return `claim_headers: ${error}`;
  }
  return undefined;
}

function headersError({ claim_headers: headers, header, payload_header: payload }: RouteConf): string | undefined {
  if (NOT_FOR_TOKENS.test(foldHeaderName(header)))
    return `header: ${header} cannot carry a token, HTTP itself needs it`;
  const seen = new Set<string>();
  for (const name of [...Object.keys(headers), ...(payload === undefined ? [] : [payload])]) {
    const where = name === payload ? "payload_header" : "claim_headers";
    // The schema says it too, but the checker of writes does not look at the names of members.
    if (!isHeaderName(name)) return `${where}: ${JSON.stringify(name)} cannot be the name of a header`;
    const folded = foldHeaderName(name);
    if (NOT_FOR_CLAIMS.test(folded)) return `${where}: ${name} is a header that the gateway or HTTP itself needs`;
    if (seen.has(folded)) return `${where}: ${name} stands there twice, for back ends that read "_" as "-"`;
    seen.add(folded);
  }
  return undefined;
}

const NOT_FOR_TOKENS =
  /^(?:connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|http2-settings|host|content-.*|cookie)$/;
const NOT_FOR_CLAIMS =
  /^(?:connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|http2-settings|proxy-.*|host|content-.*|authorization|x-consumer-.*|x-credential-identifier|x-real-ip|forwarded|x-forwarded-.*)$/;

/** Whether the rules hold for a token's claims. */
export function compileClaimRules(rules: readonly unknown[]): (claims: Claims) => boolean {
  const holds = compileExpression(rules);
  const readers = new Map<string, ReadClaim>(claimNamesIn(rules).map((name) => [name, compileClaim(name)]));
  return (claims) => holds((name) => readers.get(name)?.(claims));
}

/** The first text of each innermost rule; an operator word is taken for a name too, which costs nothing. */
function claimNamesIn(rule: unknown): readonly string[] {
  if (!Array.isArray(rule)) return [];
  const [first] = rule;
  return [...(typeof first === "string" && first !== "" ? [first] : []), ...rule.flatMap(claimNamesIn)];
}
