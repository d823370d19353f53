/**
 * Variables of the access token that a request was let in with: `token_sub`, `token_claim_<name>` and their like.
 * Undefined where there is none, and while none was accepted.
 */
import { compileClaim } from "../../base/jose/token.ts";
import { tokenScopes } from "../judge/judge.ts";
import { AccessToken } from "../judge/judged-token.ts";
import type { RequestView } from "../request-view.ts";
import type { Variable, VariableValue } from "./query.ts";

/** The note in which access-token leaves the token. */
export const ACCESS_TOKEN_NOTE = "access_token";

const of =
  (read: (token: AccessToken) => VariableValue): Variable =>
  (view: RequestView) => {
    const token = view.note(ACCESS_TOKEN_NOTE);
    return token instanceof AccessToken ? read(token) : undefined;
  };

export const TOKEN_VARIABLES: Readonly<Record<string, Variable>> = {
  token_issuer: of((token) => token.from.id),
  token_sub: of((token) => token.subject),
  token_client_id: of(({ claims }) => scalar(Object.hasOwn(claims, "client_id") ? claims["client_id"] : claims["azp"])),
  token_jti: of((token) => token.id),
  token_scope: of((token) => [...(tokenScopes(token) ?? [])].join(" ") || undefined),
};

/** @param name as configuration names a claim: literally, or as a JSON pointer */
export function compileTokenClaim(name: string): Variable {
  const read = compileClaim(name);
  return of(({ claims }) => {
    const value = read(claims);
    return Array.isArray(value) ? value.filter((one) => scalar(one) !== undefined) : scalar(value);
  });
}

function scalar(value: unknown): string | number | boolean | undefined {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : undefined;
}
