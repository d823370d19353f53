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

type ExchangeGrant = (
  view: RequestView,
  form: TokenForm,
  server: AuthorizationServer,
  terms: ExchangeTerms,
) => Promise<UnboundContent | Answer>;

/** What a client brings. */
interface Shown {
  readonly view: RequestView;
  readonly form: TokenForm;
  readonly server: AuthorizationServer;
  readonly terms: ExchangeTerms;
  /** The subject token. */
  readonly text: string;
}

/** Who it is by its subject token. */
interface Workload {
  readonly client: Client;
  /** Of the subject token. */
  readonly exp: number;
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
const HALF_AN_ACTOR = invalidRequest("actor_token and actor_token_type belong together");
const OTHER_ACTOR_TYPE = invalidRequest("actor_token_type is none of access_token, jwt and id_token");
const WHICH_CLIENT = invalidRequest("client_id is missing: the subject token is that of several clients");
const ACTOR_REFUSED = errorAnswer(400, "invalid_grant", "The actor token is refused");
const REFUSED = errorAnswer(400, "invalid_grant", "The subject token is refused");
const WIDE_SCOPE = errorAnswer(400, "invalid_scope", "The subject token does not have this scope");

export function openTokenExchange(env: NodeEnv, authenticate: AuthenticateClient): ExchangeGrant & { close(): void } {
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

  /** A token that a client brings: for this server, of a listed issuer, or of ours for the client as an API. */
  const judgeShown = async (
    text: string,
    client: Client,
    server: AuthorizationServer,
    terms: ExchangeTerms,
  ): Promise<Judged<Caller>> => {
    const { others, own } = groupsOf(server, terms);
    const foreign = await judge(text, { issuers: others, audiences: terms.audiences, strangers: true });
    if (foreign.ok || foreign.why !== "unknown_issuer") return foreign;
    return judge(text, { issuers: own, audiences: client.data.resources ?? new Set(), strangers: false });
  };

  /** The client that shows nothing but the token of a federated issuer, which says who it is where `client_id` does not. */
  const workloadOf = async (shown: Shown): Promise<Workload | Answer | undefined> => {
    const { view, form, server, terms, text } = shown;
    const proofs = [form.get("client_secret"), form.get("client_assertion"), view.header("authorization")];
    if (proofs.some((one) => one !== undefined)) return undefined;
    const id = form.get("client_id");
    const named = servedClient(id ?? "", server.id, clients);
    if (id !== undefined && named?.data.method !== "none") return undefined;
    const { federated: issuers } = groupsOf(server, terms);
    const judged = await judge(text, { issuers, audiences: terms.audiences, strangers: false });
    // Without a name nothing says that the token was meant as the client's own.
    if (!judged.ok)
      return named === undefined && judged.why === "unknown_issuer" ? undefined : refusalOf(judged, REFUSED);
    const username = judged.caller?.consumer.username ?? "";
    const fitting = env
      .credentialsOf<ClientData>("oauth2-client", username)
      .filter(({ key, data }) => data.method === "none" && servedClient(key, server.id, clients) !== undefined)
      .filter(({ key }) => id === undefined || key === id);
    const [client, ...more] = fitting;
    if (client === undefined) return named === undefined ? undefined : REFUSED;
    return more.length > 0 ? WHICH_CLIENT : { client, exp: judged.token.exp };
  };

  const forWorkload = ({ client, exp }: Workload, { view, form, server }: Shown): UnboundContent | Answer => {
    view.consumer = client.consumer;
    view.credentialId = client.credentialId;
    const granted = grantOf(form, client.data, server);
    const bounded = "status" in granted ? granted : within(granted, exp, env.clock.nowMs() / 1_000);
    return "status" in bounded
      ? bounded
      : { client, granted: bounded, subject: client.key, issuedType: ACCESS_TOKEN_TYPE };
  };

  const exchange: ExchangeGrant = async (view, form, server, terms) => {
    const text = form.get("subject_token");
    const actorText = form.get("actor_token");
    const wrong = parameterError(form, terms);
    if (wrong !== undefined || text === undefined) return wrong ?? NO_SUBJECT;
    const shown = { view, form, server, terms, text };
    const workload = await workloadOf(shown);
    if (workload !== undefined) {
      if ("status" in workload) return workload;
      return actorText === undefined ? forWorkload(workload, shown) : NO_ACTORS; // nobody acts for another here
    }
    const client = await authenticate(view, form, server);
    if ("status" in client) return client;
    if (!client.data.grants.has(TOKEN_EXCHANGE)) return NOT_ITS_GRANT;
    const judged = await judgeShown(text, client, server, terms);
    if (!judged.ok) return refusalOf(judged, REFUSED);
    const actor = actorText === undefined ? undefined : await judgeShown(actorText, client, server, terms);
    if (actor?.ok === false) return refusalOf(actor, ACTOR_REFUSED);
    const act = actingFor(judged.token, actor?.token, client, server);
    const { subject } = judged.token;
    if (act === undefined || subject === undefined) return REFUSED;
    const granted = grantOf(form, client.data, server);
    if ("status" in granted) return granted;
    const exp = Math.min(judged.token.exp, actor?.token.exp ?? Number.POSITIVE_INFINITY);
    const narrowed = narrow(granted, judged.token, exp, form, env.clock.nowMs() / 1_000);
    return "status" in narrowed ? narrowed : { client, granted: narrowed, subject, act, issuedType: ACCESS_TOKEN_TYPE };
  };
  return Object.assign(exchange, { close: release });
}

interface IssuerGroups {
  readonly own: TokenIssuers;
  readonly others: TokenIssuers;
  readonly federated: TokenIssuers;
}

function parameterError(form: TokenForm, terms: ExchangeTerms): Answer | undefined {
  const type = form.get("subject_token_type");
  if (type === undefined) return NO_SUBJECT;
  if (!SUBJECT_TYPES.has(type)) return OTHER_TYPE;
  if ((form.get("requested_token_type") ?? ACCESS_TOKEN_TYPE) !== ACCESS_TOKEN_TYPE) return OTHER_RESULT;
  const [actor, actorType] = [form.get("actor_token"), form.get("actor_token_type")];
  if (actor !== undefined && terms.delegates !== true) return NO_ACTORS;
  if ((actor === undefined) !== (actorType === undefined)) return HALF_AN_ACTOR;
  return actorType === undefined || SUBJECT_TYPES.has(actorType) ? undefined : OTHER_ACTOR_TYPE;
}

/** As a credential of access-token names it; matched exactly. */
function identityOf(token: AccessToken): string | null {
  const value = consumerClaimOf(token);
  return typeof value === "string" && value !== "" ? `${token.from.id}/${value}` : null;
}

function refusalOf({ why }: Judged<Caller> & { readonly ok: false }, answer: Answer): Answer {
  return why === "keys_unavailable" || why === "keys_too_old" ? unavailable(503, 5, "issuer_unavailable") : answer;
}

/**
 * @param actor default: the client itself
 * @returns the claim `act`; undefined: the token names others who may act, or too many have acted already
 */
function actingFor(
  { claims, from }: AccessToken,
  actor: AccessToken | undefined,
  client: Client,
  { terms }: AuthorizationServer,
): object | undefined {
  const acting = { iss: actor?.from.issuer ?? terms.issuer, sub: actor ? actor.subject : client.key };
  if (acting.sub === undefined) return undefined;
  const { may_act: may, act: before } = claims;
  if (may !== undefined && !mayAct(may, acting, [terms.issuer, from.issuer], client)) return undefined;
  let depth = 1;
  for (let one: unknown = before; one !== undefined; one = (one as { readonly act?: unknown }).act) {
    if (typeof one !== "object" || one === null || ++depth > ACTORS_MAX) return undefined;
  }
  return {
    ...(acting.iss !== terms.issuer && { iss: acting.iss }),
    sub: acting.sub,
    ...(before !== undefined && { act: before }),
  };
}

/** @param unsaid whose names are meant where `may_act` has no `iss`: ours, and the subject token's issuer's */
function mayAct(
  may: unknown,
  acting: { readonly iss: string; readonly sub: string | undefined },
  unsaid: readonly string[],
  client: Client,
): boolean {
  if (typeof may !== "object" || may === null) return false;
  const { sub, iss, client_id: id = client.key } = may as Readonly<Record<string, unknown>>;
  const isIssuer = iss === undefined ? unsaid.includes(acting.iss) : iss === acting.iss;
  return sub === acting.sub && isIssuer && id === client.key;
}

/** Within the subject token, as well. */
function narrow(granted: Granted, token: AccessToken, exp: number, form: TokenForm, now: number): Granted | Answer {
  const scopes = tokenScopes(token) ?? new Set<string>();
  const wanted = granted.scope === "" ? [] : granted.scope.split(" ");
  const kept = wanted.filter((scope) => scopes.has(scope));
  if (form.get("scope") !== undefined && kept.length < wanted.length) return WIDE_SCOPE;
  return within({ ...granted, scope: kept.join(" ") }, exp, now);
}

/** It lives no longer than what was shown for it. */
function within(granted: Granted, exp: number, now: number): Granted | Answer {
  const leftSeconds = Math.floor(exp - now) - 1; // the date of the new one may be a second from now
  if (leftSeconds < 1) return REFUSED;
  return { ...granted, lifetimeSeconds: Math.min(granted.lifetimeSeconds, leftSeconds) };
}
