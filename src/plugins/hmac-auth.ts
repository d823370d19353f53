/**
 * hmac-auth: the caller signs parts of the request with a shared secret (`Authorization: Signature keyId="…",…`).
 * Promise: signatures are compared in constant time; the key fixes nothing but the secret, the route the algorithms.
 * Source: docs/spec/plugins.md section 4, APISIX 3.18 (not the older X-HMAC-* scheme).
 */
import { createHash, createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import { Type } from "typebox";
import { isCodedError } from "../base/errors.ts";
import { attachConsumer, openRefusals } from "../plugin/caller-identity.ts";
import type { HeaderList } from "../plugin/headers.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { type Answer, jsonAnswer } from "../plugin/plugin-answer.ts";
import type { Credential } from "../plugin/plugin-consumer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { AnonymousConsumer, Realm, Words } from "./shared/schema-parts.ts";

const ALGORITHMS = ["hmac-sha1", "hmac-sha256", "hmac-sha512"] as const;

const schema = Type.Object(
  {
    allowed_algorithms: Defaulted(Type.Array(Words(ALGORITHMS), { minItems: 1, default: [...ALGORITHMS] })),
    clock_skew: Defaulted(Type.Integer({ default: 300, minimum: 1 })),
    signed_headers: Defaulted(Type.Array(Type.String({ minLength: 1, maxLength: 50 }), { default: ["date"] })),
    validate_request_body: Defaulted(
      Type.Boolean({ default: false, description: "A boolean value telling the plugin to enable body validation" }),
    ),
    max_req_body_size: Defaulted(Type.Integer({ minimum: 1, default: 67_108_864 })),
    hide_credentials: Defaulted(Type.Boolean({ default: false })),
    realm: Realm("hmac"),
    anonymous_consumer: AnonymousConsumer,
  },
  { title: "work with route or service object" },
);

const consumerSchema = Type.Object(
  {
    key_id: Type.String({ minLength: 1, maxLength: 256 }),
    secret_key: Type.String({ minLength: 1, maxLength: 256 }),
  },
  { title: "work with consumer object" },
);

const REFUSAL = "client request can't be validated";
const NO_KEY = createSecretKey(Buffer.from("stands in for unknown keys, so that they cost the same"));

export const hmacAuth = definePlugin({
  name: "hmac-auth",
  version: 0.1,
  priority: 2530,
  explain: "run",
  schema,
  credential: {
    schema: consumerSchema,
    keyAttribute: "key_id",
    encryptFields: ["secret_key"],
    compile: (conf): KeyObject => createSecretKey(Buffer.from(conf.secret_key)),
  },
  compile(conf, env) {
    const table = env.credentials<KeyObject>("hmac-auth");
    const strict = env.settings.compat === "strict";
    const refusals = openRefusals(env, {
      challenge: `hmac realm="${conf.realm}"`,
      anonymousConsumer: conf.anonymous_consumer,
    });
    const missing = refusals.answer(`${REFUSAL}: missing Authorization header`, "authorization_missing");
    const otherScheme = refusals.answer(
      `${REFUSAL}: Authorization header does not start with 'Signature'`,
      "authorization_malformed",
    );
    const refused = (reason: string): Answer => refusals.answer(REFUSAL, reason);
    const REFUSED = {
      malformed: refused("signature_incomplete"),
      key: refused("key_unknown"),
      algorithm: refused("algorithm_not_allowed"),
      date: refused("date_missing_or_skewed"),
      headers: refused("headers_not_signed"),
      repeated: refused("signed_header_repeated"),
      signature: refused("signature_wrong"),
      digest: refused("digest_wrong"),
    };
    const algorithms = new Set<string>(conf.allowed_algorithms);
    const mustSign = conf.signed_headers.map((name) => name.toLowerCase());
    if (strict && conf.validate_request_body) mustSign.push("digest");

    const precheck = (view: RequestView, signature: Signature | undefined): Answer | undefined => {
      if (!signature) return REFUSED.malformed;
      if (!algorithms.has(signature.algorithm)) return REFUSED.algorithm;
      const date = parseHttpDate(view.header("date"));
      if (date === undefined || Math.abs(Math.floor(env.clock.nowMs() / 1000) - date) > conf.clock_skew)
        return REFUSED.date;
      const signed = new Set(signature.headers.map((name) => name.toLowerCase()));
      // The signature covers one line of them, the upstream may read another.
      for (const name of [...signed, "date", "digest"])
        if (view.headers.getAll(name).length > 1) return REFUSED.repeated;
      return mustSign.every((name) => signed.has(name)) ? undefined : REFUSED.headers;
    };
    const verify = (view: RequestView, signature: Signature, found: Credential<KeyObject> | undefined): boolean => {
      const target = strict ? view.head.target : requestUri(view);
      const text = signingText(signature, view.headers, `${view.head.method} ${target}`);
      const wanted = createHmac(signature.algorithm.slice("hmac-".length), found?.data ?? NO_KEY)
        .update(text)
        .digest();
      const given = Buffer.from(signature.value, "base64");
      return given.length === wanted.length && timingSafeEqual(given, wanted) && found !== undefined;
    };
    const fail = (view: RequestView, answer: Answer): Answer | undefined => {
      const final = refusals.authenticationFailed(view, answer);
      if (final === undefined) hide(view);
      return final;
    };
    const hide = (view: RequestView): void => {
      if (conf.hide_credentials) view.headers.remove("authorization");
    };
    const accept = (view: RequestView, found: Credential<KeyObject>): undefined => {
      hide(view);
      attachConsumer(view, found.consumer, found.credentialId, found);
      return undefined;
    };
    const checkBody = async (view: RequestView, found: Credential<KeyObject>): Promise<Answer | undefined> => {
      const digest = view.header("digest");
      if (digest === undefined) return fail(view, REFUSED.digest);
      try {
        const body = await view.body.read(conf.max_req_body_size);
        return digestMatches(digest, body) ? accept(view, found) : fail(view, REFUSED.digest);
      } catch (error) {
        if (!isCodedError(error, "REQUEST_TOO_LARGE")) throw error;
        return tooLarge(view.body.length, conf.max_req_body_size);
      }
    };
    const finish = (view: RequestView, signature: Signature, found: Credential<KeyObject> | undefined) => {
      const right = verify(view, signature, found);
      if (!found) return fail(view, REFUSED.key);
      if (!right) return fail(view, REFUSED.signature);
      return conf.validate_request_body ? checkBody(view, found) : accept(view, found);
    };
    return {
      rewrite(view) {
        const header = view.header("authorization");
        if (header === undefined) return fail(view, missing);
        if (!header.startsWith("Signature")) return fail(view, otherScheme);
        const signature = parseSignature(header);
        const wrong = precheck(view, signature);
        if (wrong || !signature) return fail(view, wrong ?? REFUSED.malformed);
        const found = table.get(signature.keyId);
        const pending = found ? undefined : table.resolvePending();
        return pending === undefined
          ? finish(view, signature, found)
          : pending.then(() => finish(view, signature, table.get(signature.keyId)));
      },
    };
  },
});

/** The path policy sees with the query as it came: what APISIX signs as the request target. */
function requestUri(view: RequestView): string {
  return view.head.query === undefined ? view.path : `${view.path}?${view.head.query}`;
}

function tooLarge(bodyBytes: number | undefined, limitBytes: number): Answer {
  const size = bodyBytes ?? `over ${limitBytes}`;
  const message = `request size ${size} is greater than the maximum size ${limitBytes} allowed`;
  return jsonAnswer(413, { message }, "body_too_large");
}

/**
 * The text formats of hmac-auth: the Authorization header, the signing text, the Digest header, HTTP dates.
 * Promise: nothing throws, whatever was sent. Source: docs/spec/plugins.md section 4.
 */
export interface Signature {
  readonly keyId: string;
  readonly algorithm: string;
  /** Names in the order they were signed, spelled as sent. */
  readonly headers: readonly string[];
  /** Base64. */
  readonly value: string;
}

/** @returns undefined when keyId, algorithm or signature is missing, or a field stands there twice */
function parseSignature(header: string): Signature | undefined {
  const fields = new Map<string, string>();
  for (const field of header.slice("Signature".length).split(",")) {
    const match = /^\s*(\w+)="([^"]*)"\s*$/.exec(field);
    if (!match) continue;
    const [, name = "", value = ""] = match;
    if (fields.has(name)) return undefined;
    fields.set(name, value);
  }
  const keyId = fields.get("keyId");
  const algorithm = fields.get("algorithm");
  const value = fields.get("signature");
  if (!keyId || !algorithm || !value) return undefined;
  return { keyId, algorithm, value, headers: (fields.get("headers") ?? "").split(" ").filter((name) => name !== "") };
}

/**
 * The lines a client signs: key id, then one line per named header that was sent, each ended by a newline.
 * @param requestTarget what `@request-target` stands for
 */
function signingText(signature: Signature, headers: HeaderList, requestTarget: string): string {
  let text = `${signature.keyId}\n`;
  for (const name of signature.headers) {
    const value = headers.get(name.toLowerCase());
    if (value !== undefined) text += `${name}: ${value}\n`;
    else if (name === "@request-target") text += `${requestTarget}\n`;
  }
  return text;
}

/** Whether `Digest: SHA-256=<base64>` is that of the body. */
function digestMatches(header: string, body: Buffer): boolean {
  const wanted = Buffer.from(`SHA-256=${createHash("sha256").update(body).digest("base64")}`);
  const given = Buffer.from(header);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** @returns seconds since 1970 of a date like `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7) */
function parseHttpDate(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) {
    return undefined;
  }
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms / 1000;
}
