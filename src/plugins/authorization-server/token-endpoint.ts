/**
 * The token endpoint: method, type, parameters, client, grant, target, scope, proof, signature, in this order.
 * Sources: RFC 6749, docs/spec/tokens.md section 7.1.
 */
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import { CLIENT_CREDENTIALS, TOKEN_EXCHANGE } from "../oauth2-client/client-schema.ts";
import type { Proofs } from "../shared/dpop-proofs.ts";
import type { AuthenticateClient } from "./client-authentication.ts";
import { grantOf } from "./client-grant.ts";
import { errorAnswer, invalidRequest } from "./oauth-answers.ts";
import type { EndpointHandler } from "./own-tokens.ts";
import { openTokenBinding } from "./token-binding.ts";
import { NOT_ITS_GRANT, openTokenExchange, type UnboundContent } from "./token-exchange.ts";
import { openTokenIssue } from "./token-issue.ts";
import { formOf, type TokenForm } from "./token-request.ts";

const NO_GRANT = invalidRequest("grant_type is missing");
const OTHER_GRANT = errorAnswer(400, "unsupported_grant_type", "The grant type is none of grant_types_supported");

/** Labels of metrics. */
const GRANTS: ReadonlyMap<string, string> = new Map([
  [CLIENT_CREDENTIALS, CLIENT_CREDENTIALS],
  [TOKEN_EXCHANGE, "token_exchange"],
]);

interface TokenEndpoint {
  readonly handle: EndpointHandler;
  close(): void;
}

export function openTokenEndpoint(env: NodeEnv, authenticate: AuthenticateClient, proofs: Proofs): TokenEndpoint {
  const exchange = openTokenExchange(env, authenticate);
  const issue = openTokenIssue(env);
  const bind = openTokenBinding(env, proofs);
  const tokens = env.metrics.counter("jotgate_token_endpoint_total", "Answers of token endpoints", [
    ...["grant", "outcome"],
  ]);

  const answerFor = async (view: RequestView, form: TokenForm, server: AuthorizationServer): Promise<Answer> => {
    const grant = form.get("grant_type");
    if (grant === undefined) return NO_GRANT;
    const { exchange: terms } = server;
    const content =
      grant === TOKEN_EXCHANGE && terms !== undefined
        ? await exchange(view, form, server, terms)
        : await byClient(view, form, server, grant);
    if ("status" in content) return content;
    const binding = await bind(view, content.client.data, server);
    if ("status" in binding) return binding;
    return issue({ ...content, binding }, server);
  };
  const byClient = async (
    view: RequestView,
    form: TokenForm,
    server: AuthorizationServer,
    grant: string,
  ): Promise<UnboundContent | Answer> => {
    const client = await authenticate(view, form, server);
    if ("status" in client) return client;
    if (grant !== CLIENT_CREDENTIALS) return OTHER_GRANT;
    if (!client.data.grants.has(grant)) return NOT_ITS_GRANT;
    const granted = grantOf(form, client.data, server);
    return "status" in granted ? granted : { client, granted, subject: client.key };
  };

  return {
    close: exchange.close,
    async handle(view, server) {
      const form = await formOf(view);
      const answer = "status" in form ? form : await answerFor(view, form, server);
      const grant = "status" in form ? undefined : form.get("grant_type");
      tokens.child(GRANTS.get(grant ?? "") ?? "other", answer.reason).inc();
      return answer;
    },
  };
}
