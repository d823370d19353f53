/**
 * Asks an issuer whether tokens are active (RFC 7662), and remembers what it said for a short while.
 * Promise: one question at a time for a token; bounded time, size, memory and questions under way; addresses that the node
 * denies are never called; what cannot be found out is told from what is refused. No secret and no token in any text.
 */
import { setMaxListeners } from "node:events";
import { LRUCache } from "lru-cache";
import { CodedError, messageOf } from "../../base/errors.ts";
import { type Claims, freezeClaims, ownCopy, parseObject } from "../../base/jose/token.ts";
import { openLimitedWarn } from "../../base/log.ts";
import { type GuardedExchange, openExchange } from "../../base/net/guarded-exchange.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";

export interface IntrospectorSettings {
  readonly discovery: string;
  /** undefined: the metadata says it. */
  readonly endpoint: string | undefined;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly method: "client_secret_basic" | "client_secret_post";
  readonly timeoutSeconds: number;
  readonly verifyTls: boolean;
  /** How long an answer is remembered at most; 0: no bound but the one that all answers have. */
  readonly intervalSeconds: number;
  /** Claim that says when the answer ends: `exp` as a date, another one in seconds from now. */
  readonly expiryClaim: string;
}

/** What the issuer said; the object lives as long as it is remembered. */
export interface Introspection {
  readonly outcome: "active" | "inactive" | "nothing";
  /** Frozen; empty unless it is active. */
  readonly claims: Claims;
  /** Monotonic milliseconds until which it is remembered. */
  readonly endMs: number;
  /** What a configuration makes of it, under itself. */
  readonly kept: WeakMap<object, unknown>;
}

/** What belongs to a question beside the token: flat [name, value, …]. */
export type AddedHeaders = readonly string[];

interface Introspector {
  /** Undefined: it has to be asked. */
  known(token: string, added: AddedHeaders): Introspection | undefined;
  /** Never rejects. */
  ask(token: string, added: AddedHeaders): Promise<Introspection>;
  close(): void;
}

const ANSWER_BYTES = 65_536;
const ACTIVE_MS = 10_000;
const REFUSED_MS = 1_000;
const METADATA_MS = 300_000;
const UNDER_WAY_MAX = 256;
const ENTRIES_MAX = 10_000;
const BYTES_MAX = 16_777_216;
const ENTRY_BYTES = 512;
const NO_CLAIMS: Claims = Object.freeze({});

export function openIntrospector(settings: IntrospectorSettings, env: NodeEnv): Introspector {
  const abort = new AbortController();
  setMaxListeners(UNDER_WAY_MAX + 1, abort.signal);
  const exchange = openExchange({
    ...{ clock: env.clock, answerBytes: ANSWER_BYTES, denied: env.settings.deniedAddresses, signal: abort.signal },
    ...{ timeoutMs: settings.timeoutSeconds * 1_000, code: "ISSUER_UNAVAILABLE" as const },
    nameServers: env.settings.nameServers,
  });
  const warn = openLimitedWarn(env.log, env.clock);
  const remembered = new LRUCache<string, Introspection>({ max: ENTRIES_MAX, maxSize: BYTES_MAX });
  const underWay = new Map<string, Promise<Introspection>>();
  const endpointOf = openEndpoint(settings, env, exchange);

  const introspect = async (token: string, added: AddedHeaders): Promise<Introspection> => {
    try {
      const answer = await exchange({
        method: "POST",
        url: await endpointOf(),
        ...asked(settings, token, added),
        verifyTls: settings.verifyTls,
      });
      if (answer.status !== 200) throw unavailable(`status ${answer.status} for an introspection`);
      const claims = parseObject(answer.body);
      if (!claims) throw unavailable("the answer to an introspection is no JSON object without repeated members");
      if (claims["active"] !== true) return made("inactive", NO_CLAIMS, REFUSED_MS);
      return made("active", freezeClaims(claims), Math.min(ACTIVE_MS, leftMs(claims)));
    } catch (error) {
      warn({ discovery: hostOf(settings.discovery), why: messageOf(error) }, "tokens cannot be introspected");
      return made("nothing", NO_CLAIMS, REFUSED_MS);
    }
  };
  const made = (what: Introspection["outcome"], claims: Claims, forMs: number): Introspection => ({
    ...{ outcome: what, claims, endMs: env.clock.monotonicMs() + forMs, kept: new WeakMap() },
  });
  const leftMs = (claims: Claims): number => {
    const { expiryClaim, intervalSeconds } = settings;
    const bound = intervalSeconds > 0 ? intervalSeconds * 1_000 : Number.POSITIVE_INFINITY;
    const value = Object.hasOwn(claims, expiryClaim) ? claims[expiryClaim] : undefined;
    if (typeof value !== "number") return bound;
    return Math.max(0, Math.min(bound, expiryClaim === "exp" ? value * 1_000 - env.clock.nowMs() : value * 1_000));
  };

  return {
    known(token, added) {
      const found = remembered.get(slotOf(token, added));
      return found !== undefined && env.clock.monotonicMs() < found.endMs ? found : undefined;
    },
    ask(token, added) {
      const slot = ownCopy(slotOf(token, added));
      const running = underWay.get(slot);
      if (running !== undefined) return running;
      if (underWay.size >= UNDER_WAY_MAX) return Promise.resolve(made("nothing", NO_CLAIMS, 0));
      const flight = introspect(token, added).then((answer) => {
        underWay.delete(slot);
        const bytes = ENTRY_BYTES + 2 * slot.length + 4 * JSON.stringify(answer.claims).length;
        if (!abort.signal.aborted) remembered.set(slot, answer, { size: bytes });
        return answer;
      });
      underWay.set(slot, flight);
      return flight;
    },
    close() {
      abort.abort();
      remembered.clear();
    },
  };
}

/** Where to ask: as configured, or as the metadata says, which is read every five minutes and kept while it cannot be. */
function openEndpoint(settings: IntrospectorSettings, env: NodeEnv, exchange: GuardedExchange): () => Promise<string> {
  const { endpoint, discovery, verifyTls } = settings;
  if (endpoint !== undefined) return () => Promise.resolve(endpoint);
  let found: string | undefined;
  let nextMs = Number.NEGATIVE_INFINITY;
  let reading: Promise<string> | undefined;
  const read = async (): Promise<string> => {
    const answer = await exchange({
      method: "GET",
      url: discovery,
      headers: { Accept: "application/json" },
      verifyTls,
    });
    const address = answer.status === 200 ? parseObject(answer.body)?.["introspection_endpoint"] : undefined;
    if (typeof address !== "string") throw unavailable("the metadata names no introspection_endpoint");
    found = address;
    nextMs = env.clock.monotonicMs() + METADATA_MS;
    return address;
  };
  return () => {
    if (found !== undefined && env.clock.monotonicMs() < nextMs) return Promise.resolve(found);
    reading ??= read()
      .catch((error: unknown) => {
        if (found === undefined) throw error;
        nextMs = env.clock.monotonicMs() + REFUSED_MS;
        return found;
      })
      .finally(() => {
        reading = undefined;
      });
    return reading;
  };
}

/** RFC 6749 section 2.3.1, RFC 7662 section 2.1. */
function asked({ clientId, clientSecret, method }: IntrospectorSettings, token: string, added: AddedHeaders) {
  const form = new URLSearchParams({ token });
  const headers: Record<string, string> = {
    Accept: "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
  };
  for (let i = 0; i < added.length; i += 2) headers[added[i] as string] = added[i + 1] as string;
  if (method === "client_secret_post") {
    form.set("client_id", clientId);
    form.set("client_secret", clientSecret);
  } else {
    const pair = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`;
    headers["Authorization"] = `Basic ${Buffer.from(pair, "utf8").toString("base64")}`;
  }
  return { headers, body: form.toString() };
}

/** Neither tokens nor header values have line breaks. */
function slotOf(token: string, added: AddedHeaders): string {
  return added.length === 0 ? token : [token, ...added].join("\n");
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : "";
}

function unavailable(message: string): CodedError {
  return new CodedError("ISSUER_UNAVAILABLE", { message });
}
