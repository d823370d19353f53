/**
 * Who asks for a token: `client_secret_basic` and `client_secret_post`, never two ways at once.
 * Promise: an unknown client, a wrong secret and another method than the registered one are answered alike, and after the
 * same comparisons. Source: docs/spec/tokens.md sections 7.1 and 7.2.
 */
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { Credential, CredentialTable } from "../../plugin/plugin-consumer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { isSecret } from "../oauth2-client/client-secrets.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import type { FailureLimits } from "./failure-limits.ts";
import { invalidClient, invalidRequest, unavailable } from "./oauth-answers.ts";
import type { TokenForm } from "./token-request.ts";

export type Client = Credential<ClientData>;
type Method = ClientData["method"];

/** What a request says of its client. */
interface Claimed {
  readonly method: Method | "none" | "unreadable";
  readonly id: string;
  readonly secret: string;
}

export interface Authentication {
  readonly table: CredentialTable<ClientData>;
  readonly limits: FailureLimits;
  /** Id of the authorization server. */
  readonly server: string;
  readonly issuer: string;
  readonly nowSeconds: number;
  counted(method: string, outcome: "ok" | "failed" | "limited"): void;
}

const CLIENT_ID = /^[A-Za-z0-9._~-]{1,128}$/;
const NOBODY = "";

/** @returns the answer that refuses it */
export function authenticate(
  view: RequestView,
  form: TokenForm,
  env: Authentication,
): Client | Answer | Promise<Client | Answer> {
  const claimed = claimedBy(view, form);
  if (typeof claimed === "string") return invalidRequest(claimed);
  const id = CLIENT_ID.test(claimed.id) ? claimed.id : NOBODY; // so that keys of limits stay short
  const wait = env.limits.refusedFor(id, view.clientAddress);
  if (wait > 0) {
    env.counted(claimed.method, "limited");
    return unavailable(429, wait, "client_limited");
  }
  const pending = env.table.get(id) === undefined ? env.table.resolvePending() : undefined;
  const judge = (): Client | Answer => judged(view, claimed, env.table.get(id), env);
  return pending === undefined ? judge() : pending.then(judge, judge);
}

function judged(view: RequestView, claimed: Claimed, found: Client | undefined, env: Authentication): Client | Answer {
  const client = found?.data;
  const isRight = isSecret(claimed.secret, client?.secrets ?? [], env.nowSeconds);
  const isServed = client !== undefined && (client.servers?.has(env.server) ?? true);
  if (found && isRight && isServed && client.method === claimed.method) {
    env.counted(claimed.method, "ok");
    return found;
  }
  env.counted(claimed.method, "failed");
  env.limits.failed(CLIENT_ID.test(claimed.id) ? claimed.id : NOBODY, view.clientAddress);
  return invalidClient(view.header("authorization") === undefined ? undefined : env.issuer);
}

/** @returns text: what two readers could understand differently */
function claimedBy(view: RequestView, form: TokenForm): Claimed | string {
  const header = view.header("authorization");
  const id = form.get("client_id");
  const secret = form.get("client_secret");
  if (form.get("client_assertion") !== undefined || form.get("client_assertion_type") !== undefined) {
    if (header !== undefined || secret !== undefined) return TWO_WAYS;
    return { method: "unreadable", id: id ?? NOBODY, secret: NOBODY };
  }
  if (header === undefined) {
    if (secret === undefined) return { method: "none", id: id ?? NOBODY, secret: NOBODY };
    if (id === undefined) return "client_id is missing";
    return { method: "client_secret_post", id, secret };
  }
  if (secret !== undefined) return TWO_WAYS;
  const basic = readBasic(header);
  if (basic === undefined) return { method: "unreadable", id: id ?? NOBODY, secret: NOBODY };
  if (id !== undefined && id !== basic.id) return "client_id is another than that of the Authorization header";
  return { method: "client_secret_basic", ...basic };
}

const TWO_WAYS = "The client authenticates in two ways at once";
const BASIC = /^Basic +([A-Za-z0-9+/]+={0,2})$/i;

/** Both parts are form-encoded before they are joined (RFC 6749 section 2.3.1). */
function readBasic(header: string): { readonly id: string; readonly secret: string } | undefined {
  const encoded = BASIC.exec(header)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) return undefined;
  try {
    const [id, secret] = [text.slice(0, colon), text.slice(colon + 1)].map((part) =>
      decodeURIComponent(part.replaceAll("+", " ")),
    );
    return id === undefined || secret === undefined ? undefined : { id, secret };
  } catch {
    return undefined;
  }
}
