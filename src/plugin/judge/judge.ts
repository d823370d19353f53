/**
 * Whether an access token may pass: the one judgement that the gateway's plugins and those who explain them ask for.
 * Pure: token, configuration, issuers and keys as of now, revocations, time. It waits for nothing; what it answers when
 * a key is missing says whom to ask for it.
 * Promise: whatever the token, nothing throws; the first step that fails decides; nothing before the key costs more than a
 * few microseconds. Source: docs/spec/tokens.md section 4.
 */
import {
  type Claims,
  compileClaim,
  freezeClaims,
  type ParsedToken,
  type ParseToken,
  type ReadClaim,
} from "../../base/jose/token.ts";
import type { RequestView } from "../request-view.ts";
import { type Revocations, revocationOf } from "../revocations.ts";
import type { TokenIssuer, TokenIssuers, VerifyKey } from "../tokens.ts";
import type { DpopProof, JudgeProof } from "./dpop-proof.ts";
import { Course, scopesAsSeen, timesAsSeen } from "./judge-course.ts";
import { audienceRefusal, scopesIn, scopesRefusal, type TokenRefusal, timesRefusal } from "./judge-steps.ts";
import { AccessToken, type Caller } from "./judged-token.ts";
import { judgePossession, NOTHING_NEEDED } from "./possession.ts";

/** What one configuration demands of a token; made when it is compiled, the same object for all its requests. */
export interface TokenPolicy<Who extends Caller = Caller> {
  readonly issuers: TokenIssuers;
  /** One of them must be in the token; undefined: whoever it was meant for. */
  readonly audiences: ReadonlySet<string> | undefined;
  /** The issuer's, unless this names another. */
  readonly audienceClaim?: ReadClaim | undefined;
  readonly requiredScopes: readonly string[];
  readonly anyScopes: readonly string[];
  /** Whether further rules hold for the claims. */
  readonly rules: ((claims: Claims) => boolean) | undefined;
  /** What the caller is looked up by; null: the token does not say; undefined: nobody is looked up. */
  identityOf(token: AccessToken): string | null | undefined;
  callerOf(identity: string): Who | undefined;
  /** Tokens that are not bound to a DPoP key are refused. */
  readonly needsProof?: boolean;
  /** Tokens that are not bound to a client certificate are refused. */
  readonly needsCertificate?: boolean;
  /** A verified caller that is nobody's consumer may pass. */
  readonly strangers: boolean;
  /** Who brings the token does not use it (introspection, revocation): nothing proves that it is theirs. */
  readonly isAskedAbout?: true;
}

/** Where the judgement takes place. */
export interface Court {
  readonly parse: ParseToken;
  readonly revocations: Revocations;
  /** undefined: nobody can prove anything here. */
  readonly judgeProof?: JudgeProof | undefined;
  /** Observes how long a signature took, in seconds. */
  readonly took?: ((algorithm: string, seconds: number) => void) | undefined;
  nowMs(): number;
  monotonicMs(): number;
}

/** A token as a request brings it. */
export interface Presented {
  readonly text: string;
  /** With the scheme DPoP: a proof belongs to it. */
  readonly asProof: boolean;
  /** The request that brings it, with what it proves; undefined: nothing. */
  readonly view?: RequestView | undefined;
}

export interface Accepted<Who> {
  readonly ok: true;
  readonly token: AccessToken;
  /** undefined: a stranger who may pass. */
  readonly caller: Who | undefined;
  /** The proof that came with it: nobody has asked yet whether it was shown before. */
  readonly proof: DpopProof | undefined;
}

export interface Refused {
  readonly ok: false;
  readonly why: TokenRefusal;
  /** As far as it was found out: whose keys `wanted` and `doubted` ask for. */
  readonly issuer?: TokenIssuer | undefined;
  readonly keyId?: string | undefined;
  /** Its signature was good: its claims are what its issuer said. */
  readonly token?: AccessToken | undefined;
}

export type Judged<Who> = Accepted<Who> | Refused;

/** One step of a judgement, as it is explained. */
export interface JudgedStep {
  readonly step: string;
  readonly ok: boolean;
  readonly reason?: TokenRefusal;
  /** Facts of the token and of what was wanted. */
  readonly [fact: string]: unknown;
}

/**
 * @param steps given: every step is judged, also behind the first failure, and written down here with its facts
 */
export function judgeToken<Who extends Caller>(
  presented: Presented,
  policy: TokenPolicy<Who>,
  court: Court,
  steps?: JudgedStep[],
): Judged<Who> {
  const course = new Course(steps);
  const parsed = court.parse(presented.text);
  const isWell = parsed !== undefined && (parsed.keyId === undefined || typeof parsed.keyId === "string");
  if (!course.goesOn("form", isWell ? undefined : "malformed") || !parsed) return refused("malformed");
  const { payload: claims } = parsed;
  const issuer = policy.issuers.find(claims);
  const issuerFacts = steps && { is: issuer && `${issuer.kind}s/${issuer.id}`, has: claims["iss"] };
  course.goesOn("issuer", issuer ? undefined : "unknown_issuer", issuerFacts);
  if (!issuer) return refused(course.why ?? "unknown_issuer");
  const keyId = typeof parsed.keyId === "string" ? parsed.keyId : undefined;
  const refuse = (proven?: AccessToken): Refused => ({
    ...{ ok: false, why: course.why ?? "malformed", issuer, keyId, token: proven },
  });
  const now = court.nowMs() / 1_000;

  const typeIsFine = parsed.type !== undefined && issuer.types.has(parsed.type);
  const typeFacts = steps && { has: parsed.type, wanted: [...issuer.types] };
  if (!course.goesOn("type", typeIsFine ? undefined : "wrong_type", typeFacts)) return refuse();
  const algorithm = parsed.algorithm ?? "";
  const algorithmFacts = steps && { has: parsed.algorithm, wanted: [...issuer.algorithms] };
  const algorithmIsFine = issuer.algorithms.has(algorithm);
  if (!course.goesOn("algorithm", algorithmIsFine ? undefined : "wrong_algorithm", algorithmFacts)) return refuse();
  const timeFacts = steps && timesAsSeen(claims, issuer, now);
  if (!course.goesOn("times", timesRefusal(claims, issuer, now), timeFacts)) return refuse();
  const audience = audienceOf(claims, issuer, policy);
  const audienceFacts = steps && { has: audience, wanted: policy.audiences && [...policy.audiences] };
  if (!course.goesOn("audience", audienceRefusal(audience, policy.audiences), audienceFacts)) return refuse();

  const keys = issuer.keys(algorithm, keyId);
  const keyFacts = steps && { kid: keyId };
  if (!course.goesOn("key", typeof keys === "string" ? keys : undefined, keyFacts)) return refuse();
  const key = typeof keys === "string" ? undefined : verifyingKey(keys, parsed, court);
  if (typeof keys !== "string" && !course.goesOn("signature", key ? undefined : "bad_signature", keyFacts)) {
    return refuse();
  }
  // Explained are the later steps also where no key is known to have signed it.
  const token = new AccessToken(issuer, key ?? UNKNOWN_KEY, freezeClaims(claims));
  const caller = judgeUse(token, presented, policy, court, course);
  return course.why === undefined ? { ok: true, token, caller, proof: course.proof } : refuse(key && token);
}

/**
 * A token that was accepted before, by this configuration or another.
 * @returns undefined when it has to be judged from the beginning
 */
export function judgeAgain<Who extends Caller>(
  token: AccessToken,
  presented: Presented,
  policy: TokenPolicy<Who>,
  court: Court,
): Judged<Who> | undefined {
  const { from, claims } = token;
  const now = court.nowMs() / 1_000;
  const course = new Course(undefined);
  if (token.policy !== policy && policy.issuers.find(claims) !== from) return undefined;
  if (now >= token.exp + from.clockSkewSeconds) course.goesOn("times", "expired");
  else if (token.nbf !== undefined && now < token.nbf - from.clockSkewSeconds) course.goesOn("times", "not_yet_valid");
  else if (token.policy !== policy) {
    course.goesOn("audience", audienceRefusal(audienceOf(claims, from, policy), policy.audiences));
  }
  const caller = course.why === undefined ? judgeUse(token, presented, policy, court, course) : undefined;
  return course.why === undefined
    ? { ok: true, token, caller, proof: course.proof }
    : { ok: false, why: course.why, issuer: from, keyId: token.key.kid, token };
}

/** Steps 9 to 13. Whose token it is comes first, since revocation asks for it, and is judged last. */
function judgeUse<Who extends Caller>(
  token: AccessToken,
  presented: Presented,
  policy: TokenPolicy<Who>,
  court: Court,
  course: Course,
): Who | undefined {
  const isKnown = token.policy === policy;
  const identity = isKnown ? token.identity : policy.identityOf(token);
  const caller = typeof identity === "string" ? policy.callerOf(identity) : undefined;
  token.usedBy(caller?.consumer.username);
  const revocation = revocationOf(token, presented.text, court.revocations);
  if (!course.goesOn("revoked", revocation ? "revoked" : undefined, course.writes ? { by: revocation } : undefined))
    return undefined;
  const shown = policy.isAskedAbout ? NOTHING_NEEDED : judgePossession(token, presented, policy, court);
  course.proof = shown.proof;
  if (!course.goesOn("proof", shown.why, course.writes ? shown.facts : undefined)) return undefined;
  if (!isKnown) {
    const rulesHold = policy.rules === undefined || policy.rules(token.claims);
    if (!course.goesOn("rules", rulesHold ? undefined : "claim_rule")) return undefined;
    const scopes = tokenScopes(token);
    const scopeFacts = course.writes ? scopesAsSeen(scopes, policy) : undefined;
    const scopesOutcome = scopesRefusal(scopes, policy.requiredScopes, policy.anyScopes);
    if (!course.goesOn("scopes", scopesOutcome, scopeFacts)) return undefined;
  }
  const isOurs = token.from.kind === "authorization_server"; // whose client is gone may not pass as a stranger
  const passes = caller !== undefined || (!isOurs && (identity === undefined || policy.strangers));
  const unknown = isOurs ? "client_gone" : "unknown_consumer";
  const consumerOutcome = passes ? undefined : identity === null ? "missing_claim" : unknown;
  const consumerFacts = course.writes ? { identity, is: caller?.consumer.username } : undefined;
  if (!course.goesOn("consumer", consumerOutcome, consumerFacts)) return undefined;
  if (!isKnown && course.why === undefined) {
    token.policy = policy;
    token.identity = identity;
    token.kept = undefined;
  }
  return caller;
}

/** The scopes it grants; undefined when a claim that should say so cannot be read. */
export function tokenScopes({ claims, from }: AccessToken): ReadonlySet<string> | undefined {
  return scopesIn(readersOf(from).scopes.map((read) => read(claims)));
}

/** The first key that made the signature. */
function verifyingKey(keys: readonly VerifyKey[], parsed: ParsedToken, court: Court): VerifyKey | undefined {
  const started = court.took === undefined ? 0 : court.monotonicMs();
  const found = keys.find((key) => key.verify(parsed.signingInput, parsed.signature));
  court.took?.(parsed.algorithm ?? "", (court.monotonicMs() - started) / 1_000);
  return found;
}

function audienceOf(claims: Claims, issuer: TokenIssuer, { audiences, audienceClaim }: TokenPolicy): unknown {
  if (audiences === undefined) return undefined;
  return (audienceClaim ?? readersOf(issuer).audience)(claims);
}

/** The value that identifies its caller where its issuer says which claim does. */
export function consumerClaimOf({ claims, from }: AccessToken): unknown {
  return readersOf(from).consumer(claims);
}

interface IssuerReaders {
  readonly consumer: ReadClaim;
  readonly audience: ReadClaim;
  readonly scopes: readonly ReadClaim[];
}

/** A changed record is another object, so that this is made once for each. */
const readers = new WeakMap<TokenIssuer, IssuerReaders>();

function readersOf(issuer: TokenIssuer): IssuerReaders {
  let found = readers.get(issuer);
  if (!found) {
    found = {
      consumer: compileClaim(issuer.consumerClaim),
      audience: compileClaim(issuer.audienceClaim),
      scopes: issuer.scopeClaims.map(compileClaim),
    };
    readers.set(issuer, found);
  }
  return found;
}

function refused(why: TokenRefusal): Refused {
  return { ok: false, why };
}

/** Of a token that is only explained. */
const UNKNOWN_KEY: VerifyKey = Object.freeze({
  kid: undefined,
  algorithm: "ES256",
  current: false,
  usedIn: 0,
  ...{ signatureBytes: 0, verify: () => false },
});
