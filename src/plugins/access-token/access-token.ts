/**
 * access-token: authenticates callers by JWT access tokens of issuers that are trusted by record.
 * The judgement is plugin/judge/judge.ts; here it gets its configuration, and what follows from it happens.
 * Promise: routes with the same configuration share one compiled authentication. Source: docs/spec/tokens.md section 4.
 */
import { compileClaim } from "../../base/jose/token.ts";
import { attachConsumer, openRefusals } from "../../plugin/caller-identity.ts";
import { type ExplainHandler, noteRefusal, type RefusalDetail } from "../../plugin/explanation.ts";
import { consumerClaimOf, type Refused, type TokenPolicy, tokenScopes } from "../../plugin/judge/judge.ts";
import type { TokenRefusal } from "../../plugin/judge/judge-steps.ts";
import type { AccessToken, Caller } from "../../plugin/judge/judged-token.ts";
import { type CompileEnv, definePlugin, type PhaseHandler, type Plugin } from "../../plugin/plugin.ts";
import type { Consumer, Credential } from "../../plugin/plugin-consumer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { NO_USES, type Uses } from "../../plugin/uses.ts";
import { ACCESS_TOKEN_NOTE } from "../../plugin/variables/token-variables.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import { clientOf, OWN, ownIdentity } from "../oauth2-client/own-identity.ts";
import { type BearerParts, compileBearer } from "../shared/bearer.ts";
import { holdProofs, type Proofs } from "../shared/dpop-proofs.ts";
import { explainBearer } from "../shared/explain-bearer.ts";
import { compileRemoval } from "../shared/header-operations.ts";
import { REPLAY_SECRETS } from "../shared/replay-conf.ts";
import { courtOf } from "../shared/token-court.ts";
import { ConsumerConf, compileClaimRules, RouteConf, routeConfError } from "./access-token-conf.ts";
import { challengeOf, compileAnswers, openTokenCount } from "./bearer-answers.ts";
import { compileHide, compileTake } from "./bearer-places.ts";
import { compileClaimHeaders } from "./claim-headers.ts";
import { compileMetadata, type PublishMetadata } from "./resource-metadata.ts";

export const accessToken: Plugin = definePlugin({
  name: "access-token",
  version: 0.1,
  priority: 2512,
  schema: RouteConf,
  encryptFields: REPLAY_SECRETS,
  credential: {
    schema: ConsumerConf,
    keyAttribute: "identity",
    check: ({ identity }) =>
      /^[^/]+\/./s.test(identity) || identity.startsWith("$")
        ? undefined
        : `identity ${JSON.stringify(identity)} is not {issuer id}/{value of its consumer_claim}`,
    compile: () => undefined,
  },
  check: routeConfError,
  compile(conf, env) {
    const shared = env.states.hold(
      `access-token/conf/${JSON.stringify(conf)}`,
      () => openAuthentication(conf, env),
      (state) => state.close(),
    );
    const { rewrite, distrust, publish, explain } = shared.state;
    return { rewrite, ...(distrust && { distrust }), ...(publish && { publish }), explain, close: shared.release };
  },
});

/** Who calls: a credential, or a consumer itself. */
type KnownCaller = Caller & (Credential | OwnCaller);
interface OwnCaller {
  readonly consumer: Consumer;
  readonly credentialId: undefined;
  readonly usedIn?: undefined;
}

interface Authentication {
  readonly rewrite: PhaseHandler;
  readonly distrust: ((view: RequestView) => void) | undefined;
  readonly publish: PublishMetadata | undefined;
  readonly explain: ExplainHandler;
  close(): void;
}

function openAuthentication(conf: RouteConf, env: CompileEnv): Authentication {
  const { court, cache, release } = courtOf(env);
  const { proofs, release: releaseProofs } = holdProofs(conf, env);
  const challenge = {
    ...{ needsProof: conf.dpop === "required" },
    realm: conf.realm,
    scopes: [...conf.required_scopes, ...conf.any_scopes],
    resource: conf.resource,
  };
  const answerTo = compileAnswers(challenge);
  const { authenticationFailed } = openRefusals(env, {
    challenge: challengeOf(challenge, conf.dpop === "required" ? "DPoP" : "Bearer"),
    anonymousConsumer: conf.anonymous_consumer,
  });
  const places = { header: conf.header, query: conf.query, cookie: conf.cookie };
  const hide = conf.hide_credentials ? compileHide(places) : undefined;
  const headers = conf.claim_headers;
  const linesOf = compileClaimHeaders(headers);
  const payloadHeader = conf.payload_header;
  const removeSent = compileRemoval([...Object.keys(headers), ...(payloadHeader === undefined ? [] : [payloadHeader])]);
  const take = compileTake(places);
  const table = env.credentials<undefined>("access-token");
  const clients = env.credentials<ClientData>("oauth2-client");
  const policy = policyOf(conf, env);

  const partsWith = (
    count: ReturnType<typeof openTokenCount>,
    countProof: Proofs["count"],
    uses: Uses,
  ): BearerParts<KnownCaller> => ({
    take(view) {
      removeSent?.(view.headers);
      return take(view);
    },
    policy,
    court,
    cache,
    proofs,
    pending: () =>
      (conf.consumer_by === "credential" ? table.resolvePending() : undefined) ??
      (conf.authorization_servers === undefined ? undefined : clients.resolvePending()),
    accept(view, presented, { token, caller }) {
      if (caller)
        attachConsumer(view, caller.consumer, caller.credentialId, caller.usedIn === undefined ? undefined : caller);
      if (token.key.usedIn !== uses.hour) uses.key(token.from, token.key);
      if (linesOf) {
        token.kept ??= linesOf(token.claims);
        appendAll(view, token.kept as readonly string[]); // of this policy: another one empties it
      }
      if (payloadHeader !== undefined) view.headers.append(payloadHeader, presented.text.split(".", 2)[1] ?? "");
      hide?.(view);
      view.setNote(ACCESS_TOKEN_NOTE, token);
      view.setNote("access_token_payload", token.claims);
      count("ok");
      if (presented.asProof) countProof("ok");
      return undefined;
    },
    refuse(view, refused) {
      const { why } = refused;
      count(why);
      countProof(why);
      noteRefusal(view, refusalDetail(refused, policy));
      const answer = answerTo(why);
      if (answer.status !== 401) return answer;
      const final = authenticationFailed(view, answer);
      if (final === undefined) {
        hide?.(view);
        count("anonymous");
      }
      return final;
    },
  });
  const judge = compileBearer(partsWith(openTokenCount(env.metrics), (outcome) => proofs.count(outcome), env.uses));
  const explain = explainBearer(partsWith(NOT_COUNTED, NOT_COUNTED, NO_USES));
  const publish = compileMetadata(conf, policy.issuers);
  return {
    rewrite: publish ? (view) => publish(view) ?? judge(view) : judge,
    distrust: removeSent && ((view) => removeSent(view.headers)),
    publish,
    explain: publish
      ? (view, to) => (to.token === undefined ? publish(view) : undefined) ?? explain(view, to)
      : explain,
    close() {
      releaseProofs();
      release();
    },
  };
}

const NOT_COUNTED = (): void => {};

/** For the operator; a kid that is not the issuer's is a stranger's text. */
function refusalDetail({ why, issuer, keyId, token }: Refused, policy: TokenPolicy): RefusalDetail {
  const kid = token !== undefined || why === "bad_signature" ? keyId : undefined;
  return { issuer: issuer?.id, kid, consumer: token?.consumer, detail: token && detailOf(why, token, policy) };
}

function detailOf(why: TokenRefusal, token: AccessToken, { identityOf, requiredScopes, anyScopes }: TokenPolicy) {
  if (why === "unknown_consumer") return `nobody is ${String(identityOf(token)).slice(0, 256)}`;
  if (why !== "insufficient_scope") return undefined;
  const scopes = tokenScopes(token);
  const missing = requiredScopes.filter((scope) => !scopes?.has(scope));
  return missing.length > 0 ? `lacks ${missing.join(" ")}` : `has none of ${anyScopes.join(" ")}`;
}

function appendAll({ headers }: RequestView, lines: readonly string[]): void {
  for (let i = 0; i < lines.length; i += 2) headers.append(lines[i] as string, lines[i + 1] as string);
}

function policyOf(conf: RouteConf, env: CompileEnv): TokenPolicy<KnownCaller> {
  const by = conf.consumer_by;
  const claimOf = conf.consumer_claim === undefined ? undefined : compileClaim(conf.consumer_claim);
  const credentials = env.credentials<undefined>("access-token");
  const clients = env.credentials<ClientData>("oauth2-client");
  const own = (consumer: Consumer | undefined): KnownCaller | undefined =>
    consumer && { consumer, credentialId: undefined };
  return {
    issuers: env.tokens.issuers({ issuers: conf.issuers, authorizationServers: conf.authorization_servers }),
    audiences: conf.audiences === undefined ? undefined : new Set(conf.audiences),
    requiredScopes: conf.required_scopes,
    anyScopes: conf.any_scopes,
    rules: conf.claim_rules === undefined ? undefined : compileClaimRules(conf.claim_rules),
    needsProof: conf.dpop === "required",
    needsCertificate: conf.mtls === "required",
    strangers: conf.consumer_optional,
    identityOf(token) {
      if (token.from.kind === "authorization_server") return ownIdentity(token);
      if (by === "none") return undefined;
      const value = claimOf === undefined ? consumerClaimOf(token) : claimOf(token.claims);
      if (typeof value !== "string" || value === "" || value.startsWith(OWN)) return null;
      return by === "credential" ? `${token.from.id}/${value}` : value;
    },
    callerOf(identity) {
      if (identity.startsWith(OWN)) return clientOf(identity, clients);
      switch (by) {
        case "username":
          return own(env.consumer(identity));
        case "custom_id":
          return own(env.consumerByCustomId(identity));
        default:
          return credentials.get(identity);
      }
    },
  };
}
