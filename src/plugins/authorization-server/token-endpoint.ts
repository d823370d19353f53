/**
 * The token endpoint: method, type, parameters, client, grant, target, scope, proof, signature, in this order.
 * Sources: RFC 6749, docs/spec/tokens.md section 7.1.
 */
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import { CLIENT_CREDENTIALS } from "../oauth2-client/client-schema.ts";
import type { AuthenticateClient } from "./client-authentication.ts";
import { grantOf } from "./client-grant.ts";
import { errorAnswer, invalidRequest } from "./oauth-answers.ts";
import type { EndpointHandler } from "./own-tokens.ts";
import { openTokenBinding } from "./token-binding.ts";
import { openTokenIssue } from "./token-issue.ts";
import { formOf } from "./token-request.ts";

const NO_GRANT = invalidRequest("grant_type is missing");
const OTHER_GRANT = errorAnswer(400, "unsupported_grant_type", "The only grant type here is client_credentials");
const NOT_ITS_GRANT = errorAnswer(400, "unauthorized_client", "The client may not use this grant type");

export function openTokenEndpoint(env: NodeEnv, authenticate: AuthenticateClient): EndpointHandler {
  const issue = openTokenIssue(env);
  const bind = openTokenBinding(env);
  const tokens = env.metrics.counter("jotgate_token_endpoint_total", "Answers of token endpoints", [
    ...["grant", "outcome"],
  ]);

  const answerFor = async (view: RequestView, server: AuthorizationServer): Promise<Answer> => {
    const form = await formOf(view);
    if ("status" in form) return form;
    const grant = form.get("grant_type");
    if (grant === undefined) return NO_GRANT;
    const client = await authenticate(view, form, server);
    if ("status" in client) return client;
    if (grant !== CLIENT_CREDENTIALS) return OTHER_GRANT;
    if (!client.data.grants.has(grant)) return NOT_ITS_GRANT;
    const granted = grantOf(form, client.data, server);
    if ("status" in granted) return granted;
    const binding = await bind(view, client.data, server);
    if ("status" in binding) return binding;
    return issue({ client, granted, subject: client.key, binding }, server);
  };

  return async (view, server) => {
    const answer = await answerFor(view, server);
    tokens.child(CLIENT_CREDENTIALS, answer.reason).inc();
    return answer;
  };
}
