/**
 * Tokens of openid-connect that their issuer judges: asked once, then remembered for some seconds.
 * Promise: nothing a caller sends makes it throw; an answer that is remembered awaits nothing; revocations of this gateway
 * count, whatever the issuer says.
 */
import type { Claims, ParseToken } from "../../base/jose/token.ts";
import type { Step } from "../../plugin/explanation.ts";
import type { CompileEnv, PhaseResult } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { type RevocableToken, revocationOf } from "../../plugin/revocations.ts";
import { confHash } from "../shared/schema-parts.ts";
import { holdTokens } from "../shared/token-cache.ts";
import { type AddedHeaders, type Introspection, type IntrospectorSettings, openIntrospector } from "./introspector.ts";
import { compileAnswers, compileClaimChecks, type OpenidRefusal, openOutcomeCount } from "./openid-answers.ts";
import type { OpenidAuthentication } from "./openid-connect.ts";
import { type Conf, timeoutSecondsOf } from "./openid-connect-conf.ts";
import { compileTell, takeBearer, userinfoOf } from "./openid-headers.ts";

/** What a configuration makes of an answer. */
interface Kept {
  readonly token: RevocableToken;
  readonly refusal: OpenidRefusal | undefined;
  readonly userinfo: string | undefined;
}

/** RFC 6750 section 2.1. */
const BEARER = /^[A-Za-z0-9._~+/-]{1,16384}=*$/;
const ASKS = "a call would ask the introspection endpoint; what it said last is not remembered";

export function openIntrospection(conf: Conf, env: CompileEnv): OpenidAuthentication {
  const settings = settingsOf(conf);
  const asker = env.states.hold(
    `openid-connect/introspection/${confHash(settings)}`,
    () => openIntrospector(settings, env),
    (state) => state.close(),
  );
  const { state, release } = holdTokens(env);
  const introspector = asker.state;
  const answerTo = compileAnswers(conf);
  const checkClaims = compileClaimChecks(conf);
  const tell = compileTell(conf);
  const count = openOutcomeCount(env.metrics);
  const names = (conf.introspection_addon_headers ?? []).map((name) => ({ name, lower: name.toLowerCase() }));
  const issuers = conf.claim_validator?.issuer?.valid_issuers;
  const skewSeconds = Math.max(0, conf.iat_slack);

  const refuse = (why: OpenidRefusal): Answer => {
    count(why);
    return answerTo(why);
  };
  const keptOf = (answer: Introspection, text: string): Kept => {
    const known = answer.kept.get(conf) as Kept | undefined; // nothing else is kept under it
    if (known) return known;
    const { claims } = answer;
    const isOfIssuer = issuers === undefined || issuers.includes(String(claims["iss"]));
    const made: Kept = {
      token: revocableOf(text, claims, state.parse),
      refusal: isOfIssuer ? checkClaims(claims) : "unknown_issuer",
      userinfo: conf.set_userinfo_header ? userinfoOf(claims) : undefined,
    };
    answer.kept.set(conf, made);
    return made;
  };
  const refusalOf = (answer: Introspection, text: string, asProof: boolean): OpenidRefusal | undefined => {
    if (answer.outcome !== "active") return answer.outcome === "inactive" ? "inactive" : "introspection_failed";
    const { exp } = answer.claims;
    if (typeof exp === "number" && env.clock.nowMs() / 1_000 >= exp + skewSeconds) return "expired";
    const { token, refusal } = keptOf(answer, text);
    if (revocationOf(token, text, env.revocations)) return "revoked";
    // Proofs belong to tokens that are judged here.
    return Object.hasOwn(answer.claims, "cnf") || asProof ? "proof_missing" : refusal;
  };
  const addedOf = (view: RequestView): AddedHeaders =>
    names.length === 0
      ? NOTHING
      : names.flatMap(({ name, lower }) => {
          const value = view.header(lower);
          return value === undefined ? [] : [name, value];
        });
  const goOn = (view: RequestView, text: string, asProof: boolean, answer: Introspection): Answer | undefined => {
    const why = refusalOf(answer, text, asProof);
    if (why !== undefined) return refuse(why);
    tell(view, text, keptOf(answer, text).userinfo);
    view.setNote("access_token_payload", answer.claims);
    count("ok");
    return undefined;
  };

  return {
    rewrite(view): PhaseResult {
      const presented = takeBearer(view);
      if (typeof presented === "string") return refuse(presented);
      const { text, asProof } = presented;
      if (!BEARER.test(text)) return refuse("malformed");
      const added = addedOf(view);
      const known = introspector.known(text, added);
      if (known) return goOn(view, text, asProof, known);
      return introspector.ask(text, added).then((answer) => goOn(view, text, asProof, answer));
    },
    explain(view, { token, steps }) {
      const taken = takeBearer(view);
      const presented = token === undefined ? taken : { text: token, asProof: false };
      const isThere = typeof presented !== "string";
      steps.push({ step: "token", ok: isThere, ...(isThere && { characters: presented.text.length }) });
      if (!isThere) return answerTo(presented);
      const { text, asProof } = presented;
      const isWell = BEARER.test(text);
      steps.push({ step: "form", ok: isWell });
      if (!isWell) return answerTo("malformed");
      const known = introspector.known(text, addedOf(view));
      steps.push({
        step: "introspection",
        ok: known?.outcome === "active",
        ...(known ? { has: known.outcome } : { detail: ASKS }),
      });
      if (!known) return answerTo("introspection_failed");
      if (known.outcome === "active") steps.push(...judgedSteps(known, text));
      const why = refusalOf(known, text, asProof);
      if (why !== undefined) return answerTo(why);
      tell(view, text, keptOf(known, text).userinfo);
      return undefined;
    },
    close() {
      asker.release();
      release();
    },
  };

  function judgedSteps(answer: Introspection, text: string): readonly Step[] {
    const steps: Step[] = [];
    const revocation = revocationOf(keptOf(answer, text).token, text, env.revocations);
    steps.push({ step: "revoked", ok: revocation === undefined, ...(revocation && { by: revocation }) });
    checkClaims(answer.claims, steps);
    return steps;
  }
}

const NOTHING: AddedHeaders = Object.freeze([]);

function settingsOf(conf: Conf): IntrospectorSettings {
  const { introspection_endpoint_auth_method: method } = conf;
  return {
    discovery: conf.discovery,
    endpoint: conf.introspection_endpoint,
    clientId: conf.client_id,
    clientSecret: conf.client_secret ?? "",
    method: method === "client_secret_post" ? method : "client_secret_basic",
    timeoutSeconds: timeoutSecondsOf(conf),
    verifyTls: conf.ssl_verify === true,
    intervalSeconds: conf.introspection_interval,
    expiryClaim: conf.introspection_expiry_claim || "exp",
  };
}

/** A token as revocations name it: by its own payload if it is a JWT, which its issuer has vouched for, else by the answer. */
function revocableOf(text: string, answered: Claims, parse: ParseToken): RevocableToken {
  const parsed = parse(text);
  const claims = parsed?.payload ?? answered;
  const textIn = (from: Claims, name: string): string | undefined => {
    const value = Object.hasOwn(from, name) ? from[name] : undefined;
    return typeof value === "string" ? value : undefined;
  };
  const issuedAt = claims["iat"] ?? answered["iat"];
  return {
    consumer: undefined,
    client: undefined,
    issuer: textIn(claims, "iss") ?? textIn(answered, "iss"),
    subject: textIn(claims, "sub") ?? textIn(answered, "sub"),
    keyId: typeof parsed?.keyId === "string" ? parsed.keyId : undefined,
    issuedAt: typeof issuedAt === "number" ? issuedAt : undefined,
    expires: claims["exp"] ?? answered["exp"],
    id: textIn(claims, "jti"),
    checked: 0,
    fingerprint: undefined,
  };
}
