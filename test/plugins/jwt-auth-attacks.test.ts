/** Tokens that strangers make: none is ever accepted, none throws, none makes the gateway look anywhere else. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openTokenParser, parseObject } from "../../src/base/jose/token.ts";
import { encode, keyOf, makeToken, signatureOf } from "../support/jwt.ts";
import { openJwtNode } from "../support/jwt-auth.ts";
import { runs } from "../support/long-run.ts";

const NOW = 1_700_000_000;
const INVALID = "JWT token invalid";
const FAILED = "failed to verify jwt";
const node = openJwtNode();
const good = makeToken({ payload: { key: "jack-key", exp: NOW + 60 } });
const [head = "", body = "", signature = ""] = good.split(".");

/** A token over these very bytes, signed with the right secret: only the reading of them can refuse it. */
function signedRaw(headerJson: string | Buffer, payloadJson: string | Buffer): string {
  const input = `${Buffer.from(headerJson).toString("base64url")}.${Buffer.from(payloadJson).toString("base64url")}`;
  return `${input}.${signatureOf("HS256", input, keyOf("HS256").privateKey).toString("base64url")}`;
}

const HS256 = '{"typ":"JWT","alg":"HS256"}';
const JACK = '{"key":"jack-key"}';

test("the helper makes tokens that pass when nothing is wrong", async () => {
  expect((await node.callWith(signedRaw(HS256, JACK))).status).toBe(200);
});

describe("the algorithm", () => {
  test.each([
    { alg: "none" },
    { alg: "None" },
    { alg: "NONE" },
    { alg: "nOnE" },
    { alg: "" },
    { alg: "hs256" },
    { alg: "HS256 " },
    { alg: "HS256\0" },
    { alg: null },
    { alg: 256 },
    { alg: ["HS256"] },
    { alg: { toString: "HS256" } },
    { alg: true },
    { alg: "ES256K" },
    { alg: "__proto__" },
    { alg: undefined },
  ])("$alg is refused, whatever the signature", async ({ alg }) => {
    for (const key of [keyOf("HS256").privateKey]) {
      const token = makeToken({ header: { alg }, key });
      expect((await node.callWith(token)).message).toBe(FAILED);
      expect((await node.callWith(`${token.slice(0, token.lastIndexOf("."))}.AAAA`)).message).toBe(FAILED);
      expect((await node.callWith(`${token.slice(0, token.lastIndexOf("."))}.`)).message).toBe(INVALID);
    }
  });
});

describe("members of the header", () => {
  test.each([
    { kid: "../../../../dev/null" },
    { kid: "' OR 1=1 --" },
    { kid: "x\0y" },
    { kid: "k".repeat(10_000) },
    { kid: "http://127.0.0.1:1/" },
    { jku: "http://127.0.0.1:1/jwks" },
    { x5u: "http://127.0.0.1:1/cert" },
    { x5c: ["MIIB"] },
    { jwk: { kty: "oct", k: "AAAA" } },
    { typ: "JOSE" },
    { typ: 7 },
    { cty: "JWT" },
    { b64: true },
  ])("%o is ignored", async (header) => {
    expect((await node.callWith(makeToken({ header }))).status).toBe(200);
  });

  test.each([
    { crit: ["exp"] },
    { crit: ["b64"], b64: false },
    { crit: [] },
    { crit: "x" },
    { crit: null },
    { b64: false },
    { b64: "false" },
    { b64: null },
    { zip: "DEF" },
  ])("%o is refused", async (header) => {
    expect((await node.callWith(makeToken({ header }))).message).toBe(INVALID);
  });

  test("a jwk of the attacker's own is no key", async () => {
    const { createSecretKey } = await import("node:crypto");
    const own = createSecretKey(Buffer.from("attacker"));
    const header = { jwk: { kty: "oct", k: Buffer.from("attacker").toString("base64url") } };
    expect((await node.callWith(makeToken({ header, key: own }))).message).toBe(FAILED);
  });
});

describe("the form of the text", () => {
  test.each([
    { says: "one part", text: head },
    { says: "two parts", text: `${head}.${body}` },
    { says: "four parts", text: `${good}.AAAA` },
    { says: "five parts (JWE)", text: `${good}.AAAA.AAAA` },
    { says: "nothing but dots", text: ".." },
    { says: "an empty header", text: `.${body}.${signature}` },
    { says: "an empty payload", text: `${head}..${signature}` },
    { says: "an empty signature", text: `${head}.${body}.` },
    { says: "a dot before", text: `.${good}` },
    { says: "a dot behind", text: `${good}.` },
    { says: "two dots between", text: good.replace(".", "..") },
    { says: "padding in the payload", text: `${head}.${body}==.${signature}` },
    { says: "a blank inside", text: `${head}. ${body}.${signature}` },
    { says: "a newline inside", text: `${head}.${body.slice(0, 4)}\n${body.slice(4)}.${signature}` },
    { says: "a tab before", text: `\t${good}` },
    { says: "non-ASCII look-alikes", text: good.replace("e", "е") },
    { says: "a nested token as payload", text: `${head}.${encode(good)}.${signature}` },
    { says: "junk", text: "not-a-token" },
    { says: "short junk", text: "a.b.c" },
  ])("$says is refused", async ({ text }) => {
    expect((await node.callWith(text)).message).toBe(INVALID);
  });

  test.each([
    { says: "padding", text: `${head}.${body}.${signature}=` },
    { says: "NUL behind", text: `${good}\0` },
    { says: "no base64url at all", text: `${head}.${body}.@@@@` },
    { says: "a single character", text: `${head}.${body}.A` },
    { says: "too few bytes", text: `${head}.${body}.YWJj` },
  ])("$says in the signature makes it a wrong one", async ({ text }) => {
    expect((await node.callWith(text)).message).toBe(FAILED);
  });

  test("the standard alphabet is refused, in each part", async () => {
    // 0xfb 0xff gives "-_8" in base64url and "+/8" in base64.
    const token = signedRaw(HS256, `{"key":"jack-key","x":"ûÿ~~~???>>>"}`);
    expect((await node.callWith(token)).status).toBe(200);
    expect(token).toMatch(/[-_]/);
    expect((await node.callWith(token.replaceAll("-", "+").replaceAll("_", "/"))).message).toBe(INVALID);
  });

  test("a last character with other spare bits is refused, in each part", async () => {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const bump = (part: string): string => {
      const last = alphabet.indexOf(part.at(-1) ?? "A");
      return part.slice(0, -1) + alphabet[last ^ 1];
    };
    // 43 characters for 32 bytes: two spare bits. The header is padded to have some, too.
    const padded = signedRaw('{"typ":"JWT","alg":"HS256" }', '{"key":"jack-key","a":1}');
    const parts = padded.split(".");
    expect((await node.callWith(padded)).status).toBe(200);
    for (const at of [0, 1, 2]) {
      if ((parts[at] ?? "").length % 4 === 0) continue;
      const changed = parts.map((part, i) => (i === at ? bump(part) : part)).join(".");
      expect((await node.callWith(changed)).message).toBe(at === 2 ? FAILED : INVALID);
    }
  });

  test("16 KiB are read, one character more is not", async () => {
    const room = (n: number) => makeToken({ payload: { key: "jack-key", x: "y".repeat(n) } });
    const base = room(0).length;
    let n = Math.floor(((16_384 - base) * 3) / 4);
    while (room(n).length > 16_384) n--;
    expect((await node.callWith(room(n))).status).toBe(200);
    expect((await node.callWith(room(n + 3))).message).toBe(INVALID);
    expect((await node.callWith("a".repeat(1_000_000))).message).toBe(INVALID);
  });
});

describe("the JSON inside", () => {
  test.each([
    { says: "a repeated claim", payload: '{"key":"jack-key","key":"jack-key"}' },
    { says: "a repeated claim, escaped", payload: '{"key":"jack-key","k\\u0065y":"jack-key"}' },
    { says: "a repeated claim further down", payload: '{"key":"jack-key","a":[{"b":1,"b":1}]}' },
    { says: "__proto__", payload: '{"key":"jack-key","__proto__":{"admin":true}}' },
    { says: "__proto__ further down", payload: '{"key":"jack-key","a":{"__proto__":1}}' },
    { says: "__proto__, escaped", payload: '{"key":"jack-key","\\u005f_proto__":1}' },
    { says: "a list", payload: '["key","jack-key"]' },
    { says: "a text", payload: '"jack-key"' },
    { says: "a number", payload: "7" },
    { says: "null", payload: "null" },
    { says: "a trailing comma", payload: '{"key":"jack-key",}' },
    { says: "two values", payload: '{"key":"jack-key"}{}' },
    { says: "a comment", payload: '{"key":"jack-key"/**/}' },
    { says: "a byte order mark", payload: '\ufeff{"key":"jack-key"}' },
    { says: "invalid UTF-8", payload: Buffer.from('{"key":"jack-key","x":"\xff"}', "latin1") },
    { says: "overlong UTF-8", payload: Buffer.from('{"key":"jack-key","x":"\xc0\xaf"}', "latin1") },
    { says: "a bare control character", payload: '{"key":"jack-key","x":"\u0001"}' },
    { says: "nesting beyond 64", payload: `{"key":"jack-key","x":${"[".repeat(64)}${"]".repeat(64)}}` },
    { says: "unclosed nesting", payload: `{"key":"jack-key","x":${"[".repeat(6000)}` },
    { says: "an unclosed text", payload: '{"key":"jack-key' },
  ])("$says in the payload is refused", async ({ payload }) => {
    expect((await node.callWith(signedRaw(HS256, payload))).message).toBe(INVALID);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });

  test.each([
    { says: "a repeated alg", header: '{"alg":"none","alg":"HS256"}' },
    { says: "a list", header: '["HS256"]' },
    { says: "__proto__", header: '{"alg":"HS256","__proto__":{}}' },
    { says: "no JSON", header: "HS256" },
  ])("$says in the header is refused", async ({ header }) => {
    expect((await node.callWith(signedRaw(header, JACK))).message).toBe(INVALID);
  });

  test.each([
    { says: "colons and quotes inside texts", payload: '{"key":"jack-key","x":"a:b\\":{[\\\\","y":"\\\\"}' },
    { says: "nesting of 64", payload: `{"key":"jack-key","x":${"[".repeat(63)}${"]".repeat(63)}}` },
    { says: "constructor as a claim", payload: '{"key":"jack-key","constructor":{"prototype":1}}' },
    { says: "blanks and newlines", payload: ' {\n"key" : "jack-key" }\n' },
    { says: "an empty name", payload: '{"":1,"key":"jack-key"}' },
    { says: "a huge number that is no time", payload: '{"key":"jack-key","x":1e999}' },
  ])("$says in the payload is fine", async ({ payload }) => {
    expect((await node.callWith(signedRaw(HS256, payload))).status).toBe(200);
  });

  test("200,000 levels neither overflow nor take long", () => {
    expect(parseObject(Buffer.from(`{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`))).toBeUndefined();
  });

  test("repeated members are found exactly where JSON.parse hides them", () => {
    const name = fc.constantFrom("a", "b", "c", "\\u0061");
    const members = fc.array(fc.tuple(name, fc.constantFrom("1", '"x:y"', "[]", '{"a":{}}', '[{"b":":"}]')));
    fc.assert(
      fc.property(members, (list) => {
        const text = `{${list.map(([key, value]) => `"${key}":${value}`).join(",")}}`;
        const names = list.map(([key]) => JSON.parse(`"${key}"`) as string);
        expect(parseObject(Buffer.from(text)) === undefined).toBe(new Set(names).size !== names.length);
      }),
    );
  });
});

describe("times, to the second", () => {
  const at = (payload: string, jack?: Readonly<Record<string, unknown>>, route?: Readonly<Record<string, unknown>>) =>
    openJwtNode({ ...(jack ? { jack } : {}), ...(route ? { route } : {}) }).callWith(
      signedRaw(HS256, `{"key":"jack-key"${payload}}`),
    );
  const grace = { lifetime_grace_period: 10 };
  const both = { claims_to_verify: ["exp", "nbf"] };
  const exp = { claims_to_verify: ["exp"] };
  test.each([
    { says: "none is needed", payload: "", ok: true },
    { says: "exp = now is expired", payload: `,"exp":${NOW}`, ok: false },
    { says: "exp = now + 1 is valid", payload: `,"exp":${NOW + 1}`, ok: true },
    { says: "exp may be a fraction", payload: `,"exp":${NOW}.5`, ok: true },
    { says: "grace: exp = now - 9 is valid", payload: `,"exp":${NOW - 9}`, jack: grace, ok: true },
    { says: "grace: exp = now - 10 is expired", payload: `,"exp":${NOW - 10}`, jack: grace, ok: false },
    { says: "nbf = now is too early", payload: `,"nbf":${NOW}`, ok: false },
    { says: "nbf = now - 1 is valid", payload: `,"nbf":${NOW - 1}`, ok: true },
    { says: "grace: nbf = now + 9 is valid", payload: `,"nbf":${NOW + 9}`, jack: grace, ok: true },
    { says: "grace: nbf = now + 10 is too early", payload: `,"nbf":${NOW + 10}`, jack: grace, ok: false },
    { says: "a negative exp is expired", payload: ',"exp":-1', ok: false },
    { says: "-0 is expired", payload: ',"exp":-0', ok: false },
    { says: "a negative nbf is long past", payload: ',"nbf":-1', ok: true },
    { says: "1e308 is far", payload: ',"exp":1e308', ok: true },
    { says: "1e999 is no number", payload: ',"exp":1e999', ok: false },
    { says: "-1e999 is no number", payload: ',"nbf":-1e999', ok: false },
    { says: "exp as text", payload: `,"exp":"${NOW + 60}"`, ok: false },
    { says: "exp null", payload: ',"exp":null', ok: false },
    { says: "exp true", payload: ',"exp":true', ok: false },
    { says: "exp in a list", payload: `,"exp":[${NOW + 60}]`, ok: false },
    { says: "exp an object", payload: ',"exp":{}', ok: false },
    { says: "nbf as text", payload: ',"nbf":"1"', ok: false },
    { says: "iat is not looked at", payload: ',"iat":"soon"', ok: true },
    { says: "listed and missing", payload: "", route: exp, ok: false },
    { says: "listed and there", payload: `,"exp":${NOW + 1}`, route: exp, ok: true },
    { says: "listed and expired", payload: `,"exp":${NOW}`, route: exp, ok: false },
    { says: "not listed, not checked", payload: `,"exp":${NOW + 1},"nbf":"x"`, route: exp, ok: true },
    { says: "both listed, one missing", payload: `,"exp":${NOW + 1}`, route: both, ok: false },
    { says: "both listed, both there", payload: `,"exp":${NOW + 1},"nbf":1`, route: both, ok: true },
    { says: "an empty list is no list", payload: `,"exp":${NOW}`, route: { claims_to_verify: [] }, ok: false },
  ])("$says", async ({ payload, jack, route, ok }) => {
    const called = await at(payload, jack, route);
    expect([called.status, called.message]).toEqual(ok ? [200, ""] : [401, FAILED]);
  });
});

describe("whatever is sent", () => {
  const parse = openTokenParser();

  test("nothing throws, and only the very token passes", async () => {
    const chars = fc.constantFrom(...'ABCabc0129-_.=+/ \n\0\u00ff%{}":');
    const anyText = fc.oneof(
      fc.string({ unit: chars, maxLength: 200 }),
      fc.string({ unit: "binary", maxLength: 100 }),
      fc
        .tuple(fc.nat(good.length), fc.nat(3), fc.string({ unit: chars, maxLength: 3 }))
        .map(([from, length, put]) => good.slice(0, from) + put + good.slice(from + length)),
    );
    await fc.assert(
      fc.asyncProperty(anyText, async (text) => {
        const called = await node.callWith(text);
        const isGood = text === good || text.replace(/^[Bb]earer /, "") === good;
        expect(called.status).toBe(isGood ? 200 : 401);
      }),
      { numRuns: runs(500) },
    );
  });

  test("a text that is read means one thing: no two texts have the same parts", () => {
    const json = fc.json({ maxDepth: 3 });
    fc.assert(
      fc.property(json, json, fc.uint8Array({ maxLength: 70 }), (header, payload, bytes) => {
        const text = `${encode(header)}.${encode(payload)}.${Buffer.from(bytes).toString("base64url")}`;
        const parsed = parse(text);
        if (!parsed) return;
        expect(`${parsed.signingInput}.${parsed.signature.toString("base64url")}`).toBe(text);
      }),
    );
  });

  test("a signed payload of any JSON is accepted or refused, never an error", async () => {
    await fc.assert(
      fc.asyncProperty(fc.json(), async (payload) => {
        const called = await node.callWith(signedRaw(HS256, payload));
        expect([200, 401]).toContain(called.status);
      }),
      { numRuns: 500 },
    );
  });
});
