/**
 * What a client is granted: audiences, then scopes, never more than its registration and its server allow.
 * Pure. Sources: RFC 8707, RFC 9068, docs/spec/tokens.md section 7.1.
 */
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import { errorAnswer } from "./oauth-answers.ts";
import type { TokenForm } from "./token-request.ts";

export interface Granted {
  /** Never empty. */
  readonly audiences: readonly string[];
  /** Single blanks part them; may be empty. */
  readonly scope: string;
  readonly lifetimeSeconds: number;
}

const invalidTarget = (text: string): Answer => errorAnswer(400, "invalid_target", text);
const NOT_ABSOLUTE = invalidTarget("resource is no absolute URI without fragment");
const NOT_ALLOWED = invalidTarget("The client may not have tokens for this resource or audience");
const NO_AUDIENCE = invalidTarget("Neither the client nor its authorization server has an audience");
const BAD_SCOPE = errorAnswer(400, "invalid_scope", "scope is not as RFC 6749 section 3.3 writes it");
const WIDE_SCOPE = errorAnswer(400, "invalid_scope", "The client may not have this scope");
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/;

/** @returns the answer that refuses it */
export function grantOf(form: TokenForm, client: ClientData, server: AuthorizationServer): Granted | Answer {
  const audiences = audiencesOf(form, client, server);
  if ("status" in audiences) return audiences;
  const scope = scopeOf(form.get("scope"), client, server);
  if (typeof scope !== "string") return scope;
  const { lifetimeSeconds, maxLifetimeSeconds } = server.terms;
  const seconds = Math.min(client.lifetimeSeconds ?? lifetimeSeconds, maxLifetimeSeconds);
  return { audiences, scope, lifetimeSeconds: seconds };
}

function audiencesOf(form: TokenForm, client: ClientData, server: AuthorizationServer): readonly string[] | Answer {
  const own = server.defaultAudience === undefined ? [] : [server.defaultAudience];
  const allowed = client.audiences ?? own;
  if (!form.resources.every(isAbsolute)) return NOT_ABSOLUTE;
  const [first] = allowed;
  if (first === undefined) return NO_AUDIENCE;
  const asked = [...new Set([...form.resources, ...form.audiences])];
  if (asked.length === 0) return [first];
  return asked.every((one) => allowed.includes(one)) ? asked : NOT_ALLOWED;
}

function isAbsolute(resource: string): boolean {
  return !resource.includes("#") && /^[a-z][a-z0-9+.-]*:/i.test(resource) && URL.canParse(resource);
}

function scopeOf(asked: string | undefined, client: ClientData, server: AuthorizationServer): string | Answer {
  const { scopesSupported } = server;
  const isSupported = (one: string): boolean => scopesSupported?.includes(one) ?? true;
  if (asked === undefined) return client.defaultScopes.filter(isSupported).join(" ");
  if (!SCOPE.test(asked)) return BAD_SCOPE;
  const scopes = [...new Set(asked.split(" "))];
  return scopes.every((one) => client.scopes.has(one) && isSupported(one)) ? scopes.join(" ") : WIDE_SCOPE;
}
