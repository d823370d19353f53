/**
 * Who asks for a token, by one of the methods of client-methods.ts, never by two at once.
 * Promise: an unknown client, a wrong proof and another method than the registered one are answered alike, and after the
 * same work. Source: docs/spec/tokens.md sections 7.1 and 7.2.
 */
import { isCodedError } from "../../base/errors.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { Credential } from "../../plugin/plugin-consumer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import { nodeCounters } from "../limits/local-counters.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import { servedClient } from "../oauth2-client/own-identity.ts";
import { openOnce } from "../shared/once.ts";
import { ASSERTION_TYPE, assertedClient } from "./client-assertion.ts";
import { type Claimed, methodFor, type Proof } from "./client-methods.ts";
import { type FailureLimits, openFailureLimits } from "./failure-limits.ts";
import { invalidClient, invalidRequest, unavailable } from "./oauth-answers.ts";
import type { TokenForm } from "./token-request.ts";

export type Client = Credential<ClientData>;

/** @returns the answer that refuses it */
export type AuthenticateClient = (
  view: RequestView,
  form: TokenForm,
  server: AuthorizationServer,
) => Promise<Client | Answer>;

const CLIENT_ID = /^[A-Za-z0-9._~-]{1,128}$/;
const NOBODY = "";
/** Of what is remembered. */
const SCOPE = "client-assertions";

export function openClientAuthentication(env: NodeEnv): AuthenticateClient {
  const { clock } = env;
  const isStrict = env.settings.compat === "strict";
  const { limits, isFirst: inNode } = memoryOf(env);
  const inCluster = firstInCluster(inNode, env);
  const table = env.credentials<ClientData>("oauth2-client");
  const clients = env.metrics.counter("jotgate_client_authentication_total", "Clients at token endpoints", [
    ...["method", "outcome"],
  ]);
  const counted = (method: string, outcome: "ok" | "failed" | "limited" | "unchecked"): void =>
    clients.child(method, outcome).inc();

  return async (view, form, server) => {
    const claimed = claimedBy(view, form);
    if (typeof claimed === "string") return invalidRequest(claimed);
    const id = CLIENT_ID.test(claimed.id) ? claimed.id : NOBODY; // so that keys of limits stay short
    const wait = limits.refusedFor(id, view.clientAddress);
    if (wait > 0) {
      counted(methodFor(claimed.way, undefined)?.[0] ?? "none", "limited");
      return unavailable(429, wait, "client_limited");
    }
    if (table.get(id) === undefined) await table.resolvePending();
    const found = servedClient(id, server.id, table);
    const [name, method] = methodFor(claimed.way, found?.data) ?? [];
    const isRegistered = found?.data.method === name;
    const isFirst = server.isAssertionOnce ? inCluster : inNode;
    const proof = { view, claimed, server, isStrict, isFirst, nowSeconds: clock.nowMs() / 1_000 };
    const proven = (await method?.proves(proof, isRegistered ? found?.data : undefined)) ?? false;
    if (proven === "unchecked") {
      counted(name ?? "none", "unchecked");
      return unavailable(503, 2, "assertion_unchecked");
    }
    const isClient = found?.current === true && isRegistered && proven;
    counted(name ?? "none", isClient ? "ok" : "failed");
    if (isClient) {
      view.consumer = found.consumer;
      view.credentialId = found.credentialId;
      if (found.usedIn !== env.uses.hour) env.uses.caller(found, found.consumer, found.credentialId);
      return found;
    }
    limits.failed(id, view.clientAddress);
    return invalidClient(view.header("authorization") === undefined ? undefined : server.terms.issuer);
  };
}

/** What a node remembers of clients, whichever configurations come and go. */
interface ClientMemory {
  readonly limits: FailureLimits;
  readonly isFirst: Proof["isFirst"];
}

// Keyed by what lives as long as the process's node: all routes count together, nodes of one process do not.
const memoryByNode = new WeakMap<NodeEnv["states"], ClientMemory>();

function memoryOf(env: NodeEnv): ClientMemory {
  const known = memoryByNode.get(env.states) ?? {
    limits: openFailureLimits(env.clock, env.siblings),
    isFirst: openOnce(nodeCounters(env), SCOPE).isFirst,
  };
  memoryByNode.set(env.states, known);
  return known;
}

/** What this node has seen needs no question to the store. */
function firstInCluster(inNode: Proof["isFirst"], { clusterOnce }: NodeEnv): Proof["isFirst"] {
  return async (id, seconds) => {
    const here = await inNode(id, seconds);
    if (here !== "first") return here;
    if (clusterOnce === undefined) return "unchecked";
    try {
      return (await clusterOnce.isFirst(SCOPE, id, seconds)) ? "first" : "replayed";
    } catch (error) {
      if (isCodedError(error)) return "unchecked";
      throw error;
    }
  };
}

/** @returns text: what two readers could understand differently */
function claimedBy(view: RequestView, form: TokenForm): Claimed | string {
  const header = view.header("authorization");
  const id = form.get("client_id");
  const secret = form.get("client_secret");
  if (form.get("client_assertion") !== undefined || form.get("client_assertion_type") !== undefined) {
    if (header !== undefined || secret !== undefined) return TWO_WAYS;
    return claimedByAssertion(form, id);
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

function claimedByAssertion(form: TokenForm, id: string | undefined): Claimed | string {
  const assertion = form.get("client_assertion");
  const type = form.get("client_assertion_type");
  if (assertion === undefined || type === undefined)
    return "client_assertion and client_assertion_type belong together";
  const asserted = type === ASSERTION_TYPE ? assertedClient(assertion) : NOBODY;
  if (asserted === NOBODY) return { way: "unreadable", id: id ?? NOBODY, secret: NOBODY };
  if (id !== undefined && id !== asserted) return "client_id is another than that of the client_assertion";
  return { way: "assertion", id: asserted, secret: assertion };
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
