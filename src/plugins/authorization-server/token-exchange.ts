/**
 * Token exchange (RFC 8693): a token of ours, or of a listed issuer, for a token of ours with another audience; and workload
 * identity, where a token of a federated issuer is all that a client shows.
 * Promise: whoever was merely shown a token cannot trade it, as it must be meant for this server or for the client as an API;
 * what is given lives no longer and reaches no further than what was shown. Source: docs/spec/tokens.md section 7.5.
 */
import { consumerClaimOf, type Judged, type TokenPolicy, tokenScopes } from "../../plugin/judge/judge.ts";
import type { AccessToken, Caller } from "../../plugin/judge/judged-token.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer, ExchangeTerms, TokenIssuers } from "../../plugin/tokens.ts";
import { TOKEN_EXCHANGE } from "../oauth2-client/client-schema.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import { clientOf, OWN, ownIdentity, servedClient } from "../oauth2-client/own-identity.ts";
import { courtOf, judgeToEnd } from "../shared/token-court.ts";
import type { AuthenticateClient, Client } from "./client-authentication.ts";
import { type Granted, grantOf } from "./client-grant.ts";
import { errorAnswer, invalidRequest, unavailable } from "./oauth-answers.ts";
import type { TokenContent } from "./token-issue.ts";
import type { TokenForm } from "./token-request.ts";

export type UnboundContent = Omit<TokenContent, "binding">;

interface ExchangeGrant {
  (view: RequestView, form: TokenForm, server: AuthorizationServer): Promise<UnboundContent | Answer>;
  close(): void;
}

const TYPE = "urn:ietf:params:oauth:token-type:";
const ACCESS_TOKEN_TYPE = `${TYPE}access_token`;
const SUBJECT_TYPES: ReadonlySet<string> = new Set([ACCESS_TOKEN_TYPE, `${TYPE}jwt`, `${TYPE}id_token`]);
const ACTORS_MAX = 8;

export const NOT_ITS_GRANT = errorAnswer(400, "unauthorized_client", "The client may not use this grant type");
const NO_SUBJECT = invalidRequest("subject_token or subject_token_type is missing");
const OTHER_TYPE = invalidRequest("subject_token_type is none of access_token, jwt and id_token");
const OTHER_RESULT = invalidRequest("requested_token_type can only be access_token");
const NO_ACTORS = invalidRequest("actor_token is not taken here");
const REFUSED = errorAnswer(400, "invalid_grant", "The subject token is refused");
const WIDE_SCOPE = errorAnswer(400, "invalid_scope", "The subject token does not have this scope");

export function openTokenExchange(env: NodeEnv, authenticate: AuthenticateClient): ExchangeGrant {
  const { court, release } = courtOf(env);
  const clients = env.credentials<ClientData>("oauth2-client");
  const identities = env.credentials<undefined>("access-token");
  const groups = new WeakMap<AuthorizationServer, IssuerGroups>();

  const groupsOf = (server: AuthorizationServer, { issuers, federated }: ExchangeTerms): IssuerGroups => {
    const known = groups.get(server) ?? {
      own: env.tokens.issuers({ authorizationServers: [server.id] }),
      others: env.tokens.issuers({ issuers }),
      federated: env.tokens.issuers({ issuers: federated }),
    };
    groups.set(server, known);
    return known;
  };
  const judge = (
    text: string,
    policy: Pick<TokenPolicy, "issuers" | "audiences" | "strangers">,
  ): Promise<Judged<Caller>> => {
    const whole: TokenPolicy<Caller> = {
      ...{ ...policy, requiredScopes: [], anyScopes: [], rules: undefined },
      identityOf: (token) => (token.from.kind === "authorization_server" ? ownIdentity(token) : identityOf(token)),
      callerOf: (identity) => (identity.startsWith(OWN) ? clientOf(identity, clients) : identities.get(identity)),
    };
    return judgeToEnd(text, whole, court, () => identities.resolvePending() ?? clients.resolvePending());
  };

  /** The client that shows nothing but the token of a federated issuer. */
  const workloadOf = (view: RequestView, form: TokenForm, server: AuthorizationServer): Client | undefined => {
    const shows = [form.get("client_secret"), form.get("client_assertion"), view.header("authorization")];
    const client = servedClient(form.get("client_id") ?? "", server.id, clients);
    return shows.every((one) => one === undefined) && client?.data.method === "none" ? client : undefined;
  };

  const exchange = async (
    view: RequestView,
    form: TokenForm,
    server: AuthorizationServer,
  ): Promise<UnboundContent | Answer> => {
    const terms = server.exchange;
    const text = form.get("subject_token");
    const wrong = parameterError(form);
    const workload = workloadOf(view, form, server);
    if (workload !== undefined && terms !== undefined) {
      if (wrong !== undefined || text === undefined) return wrong ?? NO_SUBJECT;
      const { federated: issuers } = groupsOf(server, terms);
      const judged = await judge(text, { issuers, audiences: terms.audiences, strangers: false });
      if (!judged.ok) return refusalOf(judged);
      if (judged.caller?.consumer.username !== workload.consumer.username) return REFUSED;
      view.consumer = workload.consumer;
      view.credentialId = workload.credentialId;
      const granted = grantOf(form, workload.data, server);
      return "status" in granted
        ? granted
        : { client: workload, granted, subject: workload.key, issuedType: ACCESS_TOKEN_TYPE };
    }
    const client = await authenticate(view, form, server);
    if ("status" in client) return client;
    if (!client.data.grants.has(TOKEN_EXCHANGE) || terms === undefined) return NOT_ITS_GRANT;
    if (wrong !== undefined || text === undefined) return wrong ?? NO_SUBJECT;
    const { others, own } = groupsOf(server, terms);
    const foreign = await judge(text, { issuers: others, audiences: terms.audiences, strangers: true });
    const isOurs = !foreign.ok && foreign.why === "unknown_issuer";
    const judged = isOurs
      ? await judge(text, { issuers: own, audiences: client.data.resources ?? new Set(), strangers: false })
      : foreign;
    if (!judged.ok) return refusalOf(judged);
    const act = actorOf(judged.token, client, server);
    const { subject } = judged.token;
    if (act === undefined || subject === undefined) return REFUSED;
    const granted = grantOf(form, client.data, server);
    if ("status" in granted) return granted;
    const narrowed = narrow(granted, judged.token, form, env.clock.nowMs() / 1_000);
    return "status" in narrowed ? narrowed : { client, granted: narrowed, subject, act, issuedType: ACCESS_TOKEN_TYPE };
  };
  return Object.assign(exchange, { close: release });
}

interface IssuerGroups {
  readonly own: TokenIssuers;
  readonly others: TokenIssuers;
  readonly federated: TokenIssuers;
}

function parameterError(form: TokenForm): Answer | undefined {
  const type = form.get("subject_token_type");
  if (type === undefined) return NO_SUBJECT;
  if (!SUBJECT_TYPES.has(type)) return OTHER_TYPE;
  if ((form.get("requested_token_type") ?? ACCESS_TOKEN_TYPE) !== ACCESS_TOKEN_TYPE) return OTHER_RESULT;
  return form.get("actor_token") === undefined ? undefined : NO_ACTORS;
}

/** As a credential of access-token names it; matched exactly. */
function identityOf(token: AccessToken): string | null {
  const value = consumerClaimOf(token);
  return typeof value === "string" && value !== "" ? `${token.from.id}/${value}` : null;
}

function refusalOf({ why }: Judged<Caller> & { readonly ok: false }): Answer {
  return why === "keys_unavailable" || why === "keys_too_old" ? unavailable(503, 5, "issuer_unavailable") : REFUSED;
}

/** @returns the claim `act`; undefined: the token names others who may act, or too many have acted already */
function actorOf({ claims }: AccessToken, client: Client, server: AuthorizationServer): object | undefined {
  const may = claims["may_act"];
  if (may !== undefined && !mayAct(may, client, server)) return undefined;
  const before = claims["act"];
  let depth = 1;
  for (let one: unknown = before; one !== undefined; one = (one as { readonly act?: unknown }).act) {
    if (typeof one !== "object" || one === null || ++depth > ACTORS_MAX) return undefined;
  }
  return { sub: client.key, ...(before !== undefined && { act: before }) };
}

function mayAct(may: unknown, client: Client, server: AuthorizationServer): boolean {
  if (typeof may !== "object" || may === null) return false;
  const { sub, iss = server.terms.issuer, client_id: id = client.key } = may as Readonly<Record<string, unknown>>;
  return sub === client.key && iss === server.terms.issuer && id === client.key;
}

/** Within the subject token, as well. */
function narrow(granted: Granted, token: AccessToken, form: TokenForm, now: number): Granted | Answer {
  const scopes = tokenScopes(token) ?? new Set<string>();
  const wanted = granted.scope === "" ? [] : granted.scope.split(" ");
  const kept = wanted.filter((scope) => scopes.has(scope));
  if (form.get("scope") !== undefined && kept.length < wanted.length) return WIDE_SCOPE;
  const leftSeconds = Math.floor(token.exp - now) - 1; // the date of the new one may be a second from now
  if (leftSeconds < 1) return REFUSED;
  const lifetimeSeconds = Math.min(granted.lifetimeSeconds, leftSeconds);
  return { ...granted, scope: kept.join(" "), lifetimeSeconds };
}
