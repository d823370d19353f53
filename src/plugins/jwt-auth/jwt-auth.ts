/**
 * jwt-auth: authenticates callers by JSON Web Token and offers the signing endpoint.
 * The consumer side is in credential.ts, the verification in authenticate.ts, the endpoint in sign.ts.
 * Promise: routes with the same configuration share one compiled authentication. Source: docs/spec/jwt-auth.md.
 */
import { type Static, Type } from "typebox";
import { openRefusals } from "../../plugin/caller-identity.ts";
import type { ExplainHandler } from "../../plugin/explanation.ts";
import { type CompileEnv, Defaulted, definePlugin, type PhaseHandler, type Plugin } from "../../plugin/plugin.ts";
import { holdTokens } from "../shared/token-cache.ts";
import { type AuthenticationParts, compileAuthentication } from "./authenticate.ts";
import { compileClaimRules } from "./claims.ts";
import { type JwtCredential, jwtCredential } from "./credential.ts";
import { compileExplanation } from "./explain-token.ts";
import { openOutcomes } from "./outcomes.ts";
import { openSignApi } from "./sign.ts";
import { compileTokenSource } from "./token-source.ts";

const RouteConf = Type.Object({
  header: Defaulted(Type.String({ default: "authorization" })),
  query: Defaulted(Type.String({ default: "jwt" })),
  cookie: Defaulted(Type.String({ default: "jwt" })),
  hide_credentials: Defaulted(Type.Boolean({ default: false })),
  key_claim_name: Defaulted(Type.String({ minLength: 1, default: "key" })),
  store_in_ctx: Defaulted(Type.Boolean({ default: false })),
  anonymous_consumer: Type.Optional(Type.String({ minLength: 1 })),
  realm: Defaulted(
    Type.String({ minLength: 1, maxLength: 128, pattern: "^[\\x20-\\x21\\x23-\\x5b\\x5d-\\x7e]+$", default: "jwt" }),
  ),
  claims_to_verify: Type.Optional(
    Type.Unsafe<readonly ("exp" | "nbf")[]>({
      type: "array",
      uniqueItems: true,
      items: { type: "string", enum: ["exp", "nbf"] },
    }),
  ),
});
type RouteConf = Static<typeof RouteConf>;

export const jwtAuth: Plugin = definePlugin({
  name: "jwt-auth",
  version: 0.1,
  priority: 2510,
  schema: RouteConf,
  credential: jwtCredential,
  internalApis: (env) => [openSignApi(env)],
  compile(conf, env) {
    const key = `jwt-auth/conf/${JSON.stringify(conf)}`;
    const shared = env.states.hold(
      key,
      () => openAuthentication(conf, env),
      (state) => state.close(),
    );
    return { rewrite: shared.state.rewrite, explain: shared.state.explain, close: shared.release };
  },
});

interface Authentication {
  readonly rewrite: PhaseHandler;
  readonly explain: ExplainHandler;
  close(): void;
}

function openAuthentication(conf: RouteConf, env: CompileEnv): Authentication {
  const table = env.credentials<JwtCredential>("jwt-auth");
  const strict = env.settings.compat === "strict";
  const refusals = openRefusals(env, {
    challenge: `Bearer realm="${conf.realm}"`,
    anonymousConsumer: conf.anonymous_consumer,
  });
  const tokens = holdTokens(env);
  const parts: AuthenticationParts = {
    table,
    cache: tokens.state.cache,
    parse: tokens.state.parse,
    take: compileTokenSource({
      header: conf.header,
      query: conf.query,
      cookie: conf.cookie,
      hide: conf.hide_credentials,
      strict,
    }),
    rules: compileClaimRules(conf.claims_to_verify),
    keyClaim: conf.key_claim_name,
    storeInCtx: conf.store_in_ctx,
    refusals,
    outcomes: openOutcomes(refusals, env.metrics, env.settings.compat === "apisix-3.5"),
    revocations: env.revocations,
    decoy: strict,
    nowMs: () => env.clock.nowMs(),
  };
  return { rewrite: compileAuthentication(parts), explain: compileExplanation(parts), close: tokens.release };
}
