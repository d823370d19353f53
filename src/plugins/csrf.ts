/**
 * csrf: a double-submit token. Each response sets it as a cookie; requests that change something repeat it in a header.
 * Promise: what is signed is compared in constant time, and a token in two spellings or cookies is none.
 * Source: APISIX 3.18 csrf; its nodes take our tokens and we take theirs.
 */
import { createHash, randomInt, timingSafeEqual } from "node:crypto";
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { jsonAnswer } from "../plugin/plugin-answer.ts";
import { findCookie } from "../plugin/variables/cookies.ts";

const schema = Type.Object({
  key: Type.String(),
  /** Seconds; 0 and less: tokens have no end. */
  expires: Defaulted(Type.Integer({ default: 7200 })),
  name: Defaulted(Type.String({ default: "apisix-csrf-token" })),
});

const SAFE: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
/** A cookie's name, which is a header's name too. */
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const TOKEN_CHARS_MAX = 512;

const NO_HEADER = jsonAnswer(401, { error_msg: "no csrf token in headers" }, "csrf_no_header");
const NO_COOKIE = jsonAnswer(401, { error_msg: "no csrf cookie" }, "csrf_no_cookie");
const MISMATCH = jsonAnswer(401, { error_msg: "csrf token mismatch" }, "csrf_mismatch");
const BAD_SIGNATURE = jsonAnswer(401, { error_msg: "Failed to verify the csrf token signature" }, "csrf_bad_token");

export const csrf = definePlugin({
  name: "csrf",
  version: 0.1,
  priority: 2980,
  explain: "run",
  schema,
  encryptFields: ["key"],
  check: ({ name }) => (NAME.test(name) ? undefined : `property "name" is no name of a cookie and header: ${name}`),
  compile({ key, expires, name }, { clock }) {
    const lower = name.toLowerCase();
    const nowSeconds = (): number => Math.floor(clock.nowMs() / 1000);
    return {
      access({ head, headers }) {
        if (SAFE.has(head.method)) return undefined;
        const sent = headers.get(lower);
        if (sent === undefined || sent === "") return NO_HEADER;
        const cookie = findCookie(headers, name);
        if (cookie === undefined) return NO_COOKIE;
        if (cookie.conflicting || cookie.value !== sent) return MISMATCH;
        return isGood(sent, key, expires, nowSeconds()) ? undefined : BAD_SIGNATURE;
      },
      headerFilter(_view, response) {
        const now = nowSeconds();
        const until = new Date((now + expires) * 1000).toUTCString();
        response.headers.append("Set-Cookie", `${name}=${makeToken(key, now)};path=/;SameSite=Lax;Expires=${until}`);
      },
    };
  },
});

/** Hexadecimal. */
function signatureOf(random: number, madeAt: number, key: string): string {
  return createHash("sha256").update(`{expires:${madeAt},random:${random},key:${key}}`).digest("hex");
}

function makeToken(key: string, nowSeconds: number): string {
  const random = randomInt(1e13, 1e14) / 1e14; // 14 digits, which Lua writes as we do
  const token = { random, expires: nowSeconds, sign: signatureOf(random, nowSeconds, key) };
  return Buffer.from(JSON.stringify(token)).toString("base64");
}

function isGood(text: string, key: string, expiresSeconds: number, nowSeconds: number): boolean {
  const token = text.length > TOKEN_CHARS_MAX ? undefined : parseToken(text);
  if (token === undefined) return false;
  if (expiresSeconds > 0 && nowSeconds - token.expires > expiresSeconds) return false;
  const [given, made] = [Buffer.from(token.sign), Buffer.from(signatureOf(token.random, token.expires, key))];
  return given.length === made.length && timingSafeEqual(given, made);
}

interface Token {
  readonly random: number;
  /** When it was made, in seconds; APISIX gives it this name. */
  readonly expires: number;
  readonly sign: string;
}

function parseToken(text: string): Token | undefined {
  try {
    const { random, expires, sign } = JSON.parse(Buffer.from(text, "base64").toString()) as Record<string, unknown>;
    if (typeof random !== "number" || typeof expires !== "number" || typeof sign !== "string") return undefined;
    return { random, expires, sign };
  } catch {
    return undefined;
  }
}
