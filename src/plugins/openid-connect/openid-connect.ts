/**
 * openid-connect, without browsers (`bearer_only`): verifies access tokens of an issuer that the configuration describes,
 * by its keys or by asking it. Records of APISIX work as they are.
 * Promise: tokens are judged as those of access-token; routes with the same configuration share one compiled authentication.
 * Source: APISIX 3.18 openid-connect; docs/spec/tokens.md section 11.
 */
import { type ExplainHandler, noteRefusal, type Step } from "../../plugin/explanation.ts";
import type { TokenPolicy } from "../../plugin/judge/judge.ts";
import { type CompileEnv, definePlugin, type PhaseHandler, type Plugin } from "../../plugin/plugin.ts";
import { ACCESS_TOKEN_NOTE } from "../../plugin/variables/token-variables.ts";
import { type BearerParts, compileBearer } from "../shared/bearer.ts";
import { explainBearer } from "../shared/explain-bearer.ts";
import { courtOf } from "../shared/token-court.ts";
import { openIntrospection } from "./introspection.ts";
import { compileAnswers, compileClaimChecks, type OpenidRefusal, openOutcomeCount } from "./openid-answers.ts";
import { algorithmsOf, asksIssuer, Conf, confError, SECRETS, timeoutSecondsOf } from "./openid-connect-conf.ts";
import { compileTell, distrust, takeBearer, userinfoOf } from "./openid-headers.ts";

export const openidConnect: Plugin = definePlugin({
  name: "openid-connect",
  version: 0.2,
  priority: 2599,
  authenticates: true,
  schema: Conf,
  encryptFields: SECRETS,
  check: confError,
  compile(conf, env) {
    const shared = env.states.hold(
      `openid-connect/conf/${JSON.stringify(conf)}`,
      () => (asksIssuer(conf) ? openIntrospection(conf, env) : openVerification(conf, env)),
      (state) => state.close(),
    );
    const { rewrite, explain } = shared.state;
    return { rewrite, distrust, explain, close: shared.release };
  },
});

export interface OpenidAuthentication {
  readonly rewrite: PhaseHandler;
  readonly explain: ExplainHandler;
  close(): void;
}

/** What is remembered with a token for this configuration. */
interface Kept {
  readonly refusal: OpenidRefusal | undefined;
  readonly userinfo: string | undefined;
}

const REFRESH_MAX_SECONDS = 300;
const REFRESH_LEAST_SECONDS = 60;
const SKEW_MAX_SECONDS = 300;

/** Steps of the common judgement that are this plugin's own here. */
const RULED_HERE: ReadonlySet<string> = new Set(["audience", "rules", "scopes", "consumer"]);

/** By the keys of the issuer. */
function openVerification(conf: Conf, env: CompileEnv): OpenidAuthentication {
  const { court, cache, proofs, release } = courtOf(env);
  const issuer = env.tokens.unnamed({
    discovery: conf.discovery,
    publicKey: conf.public_key,
    validIssuers: conf.claim_validator?.issuer?.valid_issuers,
    algorithms: algorithmsOf(conf),
    clockSkewSeconds: Math.max(0, Math.min(SKEW_MAX_SECONDS, conf.iat_slack)),
    refreshSeconds: Math.max(REFRESH_LEAST_SECONDS, Math.min(REFRESH_MAX_SECONDS, conf.jwk_expires_in)),
    timeoutSeconds: timeoutSecondsOf(conf),
    verifyTls: conf.ssl_verify === true,
  });
  const answerTo = compileAnswers(conf);
  const checkClaims = compileClaimChecks(conf);
  const tell = compileTell(conf);
  const policy: TokenPolicy = {
    issuers: issuer.issuers,
    audiences: undefined,
    requiredScopes: [],
    anyScopes: [],
    rules: undefined,
    identityOf: () => undefined,
    callerOf: () => undefined,
    strangers: true,
  };

  const partsWith = (
    count: ReturnType<typeof openOutcomeCount>,
    check: typeof checkClaims,
  ): BearerParts<{ readonly consumer: { readonly username: string } }> => {
    const answer = (why: OpenidRefusal) => {
      count(why);
      return answerTo(why);
    };
    return {
      ...{ take: takeBearer, policy, court, cache, proofs },
      pending: () => undefined,
      accept(view, { text }, { token }) {
        const userinfo = conf.set_userinfo_header ? userinfoOf : undefined;
        token.kept ??= { refusal: check(token.claims), userinfo: userinfo?.(token.claims) } satisfies Kept;
        const kept = token.kept as Kept; // of this policy: another one empties it
        if (kept.refusal !== undefined) {
          noteRefusal(view, { issuer: token.from.id, kid: token.keyId });
          return answer(kept.refusal);
        }
        tell(view, text, kept.userinfo);
        view.setNote(ACCESS_TOKEN_NOTE, token);
        view.setNote("access_token_payload", token.claims);
        count("ok");
        return undefined;
      },
      refuse(view, { why, issuer: from, keyId, token }) {
        const kid = token !== undefined || why === "bad_signature" ? keyId : undefined;
        noteRefusal(view, { issuer: from?.id, kid });
        return answer(why);
      },
    };
  };
  return {
    rewrite: compileBearer(partsWith(openOutcomeCount(env.metrics), checkClaims)),
    explain(view, explaining) {
      const judged: Step[] = [];
      const ruled: Step[] = [];
      const parts = partsWith(
        () => undefined,
        (claims) => checkClaims(claims, ruled),
      );
      const answer = explainBearer(parts)(view, { ...explaining, steps: judged });
      explaining.steps.push(...judged.filter(({ step }) => !RULED_HERE.has(step)), ...ruled);
      return answer;
    },
    close() {
      issuer.release();
      release();
    },
  };
}
