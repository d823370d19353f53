/**
 * Who asks for a token, by one of the methods of client-methods.ts, never by two at once.
 * Promise: an unknown client, a wrong proof and another method than the registered one are answered alike, and after the
 * same work. Source: docs/spec/tokens.md sections 7.1 and 7.2.
 */
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { Credential, CredentialTable } from "../../plugin/plugin-consumer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import { type Claimed, methodFor } from "./client-methods.ts";
import type { FailureLimits } from "./failure-limits.ts";
import { invalidClient, invalidRequest, unavailable } from "./oauth-answers.ts";
import type { TokenForm } from "./token-request.ts";

export type Client = Credential<ClientData>;

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
export async function authenticate(view: RequestView, form: TokenForm, env: Authentication): Promise<Client | Answer> {
  const claimed = claimedBy(view, form);
  if (typeof claimed === "string") return invalidRequest(claimed);
  const id = CLIENT_ID.test(claimed.id) ? claimed.id : NOBODY; // so that keys of limits stay short
  const wait = env.limits.refusedFor(id, view.clientAddress);
  if (wait > 0) {
    env.counted(methodFor(claimed.way, undefined)?.[0] ?? "none", "limited");
    return unavailable(429, wait, "client_limited");
  }
  if (env.table.get(id) === undefined) await env.table.resolvePending();
  const found = env.table.get(id);
  const isServed = found?.data.servers?.has(env.server) ?? true;
  const [name, method] = methodFor(claimed.way, found?.data) ?? [];
  const isRegistered = found?.data.method === name && isServed;
  const proof = { view, claimed, nowSeconds: env.nowSeconds };
  const isProven = (await method?.proves(proof, isRegistered ? found?.data : undefined)) ?? false;
  const isClient = found !== undefined && isRegistered && isProven && env.table.get(id) === found;
  env.counted(name ?? "none", isClient ? "ok" : "failed");
  if (isClient) return found;
  env.limits.failed(id, view.clientAddress);
  return invalidClient(view.header("authorization") === undefined ? undefined : env.issuer);
}

/** @returns text: what two readers could understand differently */
function claimedBy(view: RequestView, form: TokenForm): Claimed | string {
  const header = view.header("authorization");
  const id = form.get("client_id");
  const secret = form.get("client_secret");
  if (form.get("client_assertion") !== undefined || form.get("client_assertion_type") !== undefined) {
    if (header !== undefined || secret !== undefined) return TWO_WAYS;
    return { way: "unreadable", id: id ?? NOBODY, secret: NOBODY };
  }
  if (header === undefined) {
    if (secret === undefined) return { way: "bare", id: id ?? NOBODY, secret: NOBODY };
    if (id === undefined) return "client_id is missing";
    return { way: "post", id, secret };
  }
  if (secret !== undefined) return TWO_WAYS;
  const basic = readBasic(header);
  if (basic === undefined) return { way: "unreadable", id: id ?? NOBODY, secret: NOBODY };
  if (id !== undefined && id !== basic.id) return "client_id is another than that of the Authorization header";
  return { way: "basic", ...basic };
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
