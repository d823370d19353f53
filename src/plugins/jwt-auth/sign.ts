/**
 * The signing endpoint of APISIX 3.5: GET /apisix/plugin/jwt/sign?key=…&payload=…, reachable through public-api only.
 * Promise: `key`, `iat` and `exp` are the gateway's, whatever the payload says; RSA signs off the main thread; a token is
 * signed once per second where signatures are deterministic. Source: docs/spec/jwt-auth.md section 9; in `strict` it wants
 * POST and an authenticated caller, and no registered claim comes from the payload.
 */
import { LRUCache } from "lru-cache";
import type { Signer } from "../../base/jose/algorithms.ts";
import { type Claims, parseObject } from "../../base/jose/token.ts";
import type { Counter } from "../../base/metrics.ts";
import type { InternalApi } from "../../plugin/internal-api.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { type Answer, bareAnswer, jsonAnswer, textAnswer } from "../../plugin/plugin-answer.ts";
import type { Credential } from "../../plugin/plugin-consumer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { type Argument, decodeFormText, findArgument } from "../../plugin/variables/query.ts";
import type { JwtCredential } from "./credential.ts";

const PATH = "/apisix/plugin/jwt/sign";
/** Together with the header this stays well below what a token may measure when it comes back. */
const PAYLOAD_MAX_BYTES = 8192;
const MEMO_ENTRIES = 1024;
const MEMO_PAYLOAD_MAX_CHARS = 512;
/** RSA signatures under way; at 0.4 ms each this is a queue of a fifth of a second on one thread. */
const SIGNING_MAX = 512;
const STRICT_RESERVED = ["nbf", "iat", "jti", "iss", "aud"];

const FAILED = "failed to sign jwt";
const NO_KEY = bareAnswer(400, "sign_no_key");
const NOT_FOUND = bareAnswer(404, "sign_not_found");
const TOO_LARGE = bareAnswer(413, "sign_payload_too_large");
const INCOMPLETE = textAnswer(503, FAILED, "sign_incomplete_key");
const UNUSABLE = textAnswer(500, FAILED, "sign_unusable_key");
const BUSY = textAnswer(503, FAILED, "sign_busy");
const UNAUTHENTICATED = jsonAnswer(401, { message: "Invalid user authorization" }, "sign_unauthenticated");
const NO_STORE: readonly string[] = ["Cache-Control", "no-store"];

interface Memo {
  readonly credential: Credential<JwtCredential>;
  readonly second: number;
  readonly answer: Answer | Promise<Answer>;
}

/** The endpoint of one node. */
export function openSignApi(env: NodeEnv): InternalApi {
  const strict = env.settings.compat === "strict";
  const { signEndpoint = "open" } = env.settings;
  const isClosed = strict || signEndpoint === "authenticated";
  const methods = [strict ? "POST" : "GET"];
  const notJson = bareAnswer(strict ? 400 : 500, "sign_bad_payload");
  const table = env.credentials<JwtCredential>("jwt-auth");
  const memo = new LRUCache<string, Memo>({ max: MEMO_ENTRIES });
  const signed = env.metrics.counter("jotgate_jwt_sign_total", "Answers of the signing endpoint", ["outcome"]);
  const counters = new Map<string, Counter>();
  const count = ({ reason }: Answer): void => {
    let counter = counters.get(reason);
    if (!counter) {
      counter = signed.child(reason);
      counters.set(reason, counter);
    }
    counter.inc();
  };
  /** Of the request before. */
  let asked: Asked | undefined;
  let underWay = 0;
  let warned = false;

  const signNow = (credential: Credential<JwtCredential>, signer: Signer, payload: Claims, second: number) => {
    // A rule that ended older tokens refuses what has no date, new ones too.
    const isDated = isClosed || env.revocations.coversConsumer(credential.consumer.username);
    const input = signingInput(credential, payload, second, isDated);
    const made = signer.sign(input);
    if (!(made instanceof Promise)) return tokenAnswer(input, made);
    underWay++;
    return made
      .then((signature) => tokenAnswer(input, signature))
      .catch(() => UNUSABLE)
      .finally(() => {
        underWay--;
      });
  };

  const sign = (credential: Credential<JwtCredential>, asked: Asked): Answer | Promise<Answer> => {
    const { signer } = credential.data;
    if (signer === "incomplete") return INCOMPLETE;
    if (signer === "unusable") return UNUSABLE;
    const { text } = asked;
    if (text === undefined) return notJson;
    const second = Math.floor(env.clock.nowMs() / 1000);
    const slot = signer.deterministic ? asked.slot : undefined;
    const known = slot === undefined ? undefined : memo.get(slot);
    if (known && known.second === second && known.credential === credential) return known.answer;
    const payload = readPayload(text, strict);
    if (payload === undefined) return notJson;
    if (payload === "too large") return TOO_LARGE;
    if (underWay >= SIGNING_MAX) return BUSY;
    const answer = signNow(credential, signer, payload, second);
    if (slot !== undefined) memo.set(slot, { credential, second, answer });
    return answer;
  };

  const answerFor = (view: RequestView): Answer | Promise<Answer> => {
    if (!methods.includes(view.method) || signEndpoint === "off") return NOT_FOUND;
    if (isClosed && view.consumer === undefined) return UNAUTHENTICATED;
    if (!warned && view.consumer === undefined) {
      warned = true;
      env.log.warn({ plugin: "jwt-auth", api: PATH }, "tokens are signed for callers that no auth plugin has checked");
    }
    const wanted = asked !== undefined && asked.query === view.query ? asked : readQuery(view.query ?? "");
    asked = wanted;
    if (typeof wanted.key !== "string") return wanted.key;
    const { key } = wanted;
    const found = table.get(key);
    if (found) return sign(found, wanted);
    const pending = table.resolvePending();
    if (pending === undefined) return NOT_FOUND;
    const signThen = () => {
      const resolved = table.get(key);
      return resolved ? sign(resolved, wanted) : NOT_FOUND;
    };
    return pending.then(signThen, signThen);
  };

  return {
    methods,
    path: PATH,
    handle(view) {
      const answer = answerFor(view);
      if (!(answer instanceof Promise)) {
        count(answer);
        return answer;
      }
      return answer.then((settled) => {
        count(settled);
        return settled;
      });
    },
  };
}

/** What a query asks for; machine clients send the same one again and again. */
interface Asked {
  readonly query: string;
  /** Or what is answered where there is none. */
  readonly key: string | Answer;
  /** Of the payload; undefined where it is none. */
  readonly text: string | undefined;
  /** Of the memo; undefined for what is not remembered. */
  readonly slot: string | undefined;
}

function readQuery(query: string): Asked {
  const key = findArgument(query, "key");
  const refused = !key ? NO_KEY : key.repeated || key.valueless || key.value === "" ? NOT_FOUND : undefined;
  const text = payloadText(findArgument(query, "payload"));
  const isShort = text !== undefined && text.length <= MEMO_PAYLOAD_MAX_CHARS;
  // Copied, as a slice of the query would keep the request's whole head alive.
  const slot =
    key && isShort ? Buffer.from(`${key.value.length} ${key.value}${text}`, "utf8").toString("utf8") : undefined;
  return { query, key: refused ?? (key as Argument).value, text, slot }; // true: without one it is refused
}

/** The text of an empty object when there is no argument; undefined when there is none of the two. */
function payloadText(argument: Argument | undefined): string | undefined {
  if (argument === undefined) return "{}";
  // Decoded a second time, as APISIX does.
  return argument.repeated || argument.valueless ? undefined : decodeFormText(argument.value);
}

function readPayload(text: string, strict: boolean): Claims | "too large" | undefined {
  const bytes = Buffer.from(text, "utf8");
  if (bytes.length > PAYLOAD_MAX_BYTES) return "too large";
  const payload = parseObject(bytes);
  if (!payload || !strict) return payload;
  return Object.fromEntries(Object.entries(payload).filter(([name]) => !STRICT_RESERVED.includes(name)));
}

/** @param isDated whether `iat` is set where the payload has none: a token of APISIX has `key` and `exp` alone */
function signingInput(
  credential: Credential<JwtCredential>,
  payload: Claims,
  second: number,
  isDated: boolean,
): string {
  const { algorithm, lifetimeSeconds, publicKeyText, kid } = credential.data;
  const isCertified = algorithm.startsWith("RS") || algorithm.startsWith("ES");
  // Not an X.509 chain in base64 as RFC 7515 has it, but the PEM text: that is what APISIX puts there.
  const named = kid === undefined ? {} : { kid };
  const header = { typ: "JWT", alg: algorithm, ...named, ...(isCertified ? { x5c: [publicKeyText] } : {}) };
  const issued = isDated || Object.hasOwn(payload, "iat") ? { iat: second } : undefined;
  const claims = { ...payload, key: credential.key, ...issued, exp: second + lifetimeSeconds };
  return `${encode(header)}.${encode(claims)}`;
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value), "utf8").toString("base64url");
}

function tokenAnswer(input: string, signature: Buffer): Answer {
  return textAnswer(200, `${input}.${signature.toString("base64url")}`, "jwt_signed", NO_STORE);
}
