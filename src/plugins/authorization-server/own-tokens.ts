/**
 * What becomes of a token of ours that a client asks about or gives back: introspection (RFC 7662) and revocation
 * (RFC 7009). Nothing is cached: a node knows all revocations itself.
 * Promise: whoever asks learns of tokens for itself only, and ends only its own; all that is no such token is one answer.
 * Source: docs/spec/tokens.md sections 7.3 and 7.4.
 */
import { isCodedError } from "../../base/errors.ts";
import type { TokenPolicy } from "../../plugin/judge/judge.ts";
import type { AccessToken } from "../../plugin/judge/judged-token.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { type Answer, textAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { fingerprintOfToken } from "../../plugin/revocations.ts";
import type { AuthorizationServer, TokenIssuers } from "../../plugin/tokens.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import { clientOf, ownIdentity } from "../oauth2-client/own-identity.ts";
import { courtOf, judgeToEnd } from "../shared/token-court.ts";
import type { AuthenticateClient, Client } from "./client-authentication.ts";
import { errorAnswer, invalidRequest, JSON_TYPE, NO_STORE, unavailable } from "./oauth-answers.ts";
import { formOf } from "./token-request.ts";

export type EndpointHandler = (view: RequestView, server: AuthorizationServer) => Promise<Answer>;

const NO_TOKEN = invalidRequest("token is missing");
const NOT_ALLOWED = errorAnswer(400, "unauthorized_client", "The client may not introspect tokens");
const INACTIVE = textAnswer(200, JSON.stringify({ active: false }), "token_inactive", [...JSON_TYPE, ...NO_STORE]);
const REVOKED = textAnswer(200, "", "token_revoked", NO_STORE);
const NOTHING_REVOKED = textAnswer(200, "", "nothing_revoked", NO_STORE);
const NOT_ITS_TOKEN = errorAnswer(400, "invalid_grant", undefined, [], "token_of_another");
const SHOWN = ["iss", "sub", "aud", "client_id", "scope", "exp", "iat", "jti"] as const;

interface OwnTokens {
  readonly introspect: EndpointHandler;
  readonly revoke: EndpointHandler;
  close(): void;
}

export function openOwnTokens(env: NodeEnv, authenticate: AuthenticateClient): OwnTokens {
  const { court, release } = courtOf(env);
  const clients = env.credentials<ClientData>("oauth2-client");
  const asked = env.metrics.counter("jotgate_introspections_total", "Answers of introspection endpoints", ["active"]);
  const [active, inactive] = [asked.child("true"), asked.child("false")];
  const issuersById = new Map<string, TokenIssuers>();

  const policyFor = (server: AuthorizationServer, audiences: ReadonlySet<string> | undefined): TokenPolicy<Client> => {
    const issuers = issuersById.get(server.id) ?? env.tokens.issuers({ authorizationServers: [server.id] });
    issuersById.set(server.id, issuers);
    return {
      ...{ issuers, audiences, requiredScopes: [], anyScopes: [], rules: undefined, strangers: false },
      isAskedAbout: true,
      identityOf: ownIdentity,
      callerOf: (identity) => clientOf(identity, clients),
    };
  };
  /** undefined: no token of this server that is good. */
  const tokenOf = async (
    text: string,
    server: AuthorizationServer,
    audiences: ReadonlySet<string> | undefined,
  ): Promise<AccessToken | undefined> => {
    const judged = await judgeToEnd(text, policyFor(server, audiences), court, () => clients.resolvePending());
    return judged.ok ? judged.token : undefined;
  };

  return {
    async introspect(view, server) {
      const form = await formOf(view);
      if ("status" in form) return form;
      const client = await authenticate(view, form, server);
      if ("status" in client) return client;
      const text = form.get("token");
      if (text === undefined) return NO_TOKEN;
      if (!client.data.introspects) return NOT_ALLOWED;
      const token = await tokenOf(text, server, client.data.resources ?? NOBODY);
      (token ? active : inactive).inc();
      return token === undefined ? INACTIVE : shownToken(token);
    },
    async revoke(view, server) {
      const form = await formOf(view);
      if ("status" in form) return form;
      const client = await authenticate(view, form, server);
      if ("status" in client) return client;
      const text = form.get("token");
      if (text === undefined) return NO_TOKEN;
      const token = await tokenOf(text, server, undefined);
      if (token === undefined) return NOTHING_REVOKED;
      if (token.client !== client.key) return NOT_ITS_TOKEN;
      try {
        await env.revocations.end(fingerprintOfToken(token, text), token.exp);
        return REVOKED;
      } catch (error) {
        if (isCodedError(error)) return unavailable(503, 2, "revocation_not_written");
        throw error;
      }
    },
    close: release,
  };
}

const NOBODY: ReadonlySet<string> = new Set();

function shownToken({ claims }: AccessToken): Answer {
  const { cnf } = claims;
  const members = SHOWN.filter((name) => claims[name] !== undefined).map((name) => [name, claims[name]] as const);
  const isBound = typeof cnf === "object" && cnf !== null && Object.hasOwn(cnf, "jkt");
  const body = {
    active: true,
    ...Object.fromEntries(members),
    token_type: isBound ? "DPoP" : "Bearer",
    ...(cnf !== undefined && { cnf }),
  };
  return textAnswer(200, JSON.stringify(body), "token_active", [...JSON_TYPE, ...NO_STORE]);
}
