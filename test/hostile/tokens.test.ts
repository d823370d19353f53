/**
 * Forged and malformed tokens before real nodes, on both lanes and over every place a token may come from: each is 401,
 * nothing of it reaches the upstream, nothing is fetched for it, and the node goes on. How each is judged one by one is in
 * test/plugins/jwt-auth-{attacks,algorithms}.test.ts; here is what a stranger sees.
 */
import { createHmac, createSecretKey } from "node:crypto";
import { createServer } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answering, cutResponse, OK, openRawUpstream, type RawUpstream, send } from "../gateway/support.ts";
import { ALL_ALGORITHMS, type AnyAlgorithm, encode, keyOf, makeToken, SECRET, signatureOf } from "../support/jwt.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

/** Where a token's header says that its key is; asked by nobody, if all is well. */
const asked: string[] = [];
const elsewhere = createServer((request, response) => {
  asked.push(request.url ?? "");
  response.end('{"keys":[]}');
});

const pemOf = (algorithm: AnyAlgorithm): string => keyOf(algorithm).conf.public_key ?? "";

/** Signed by HMAC with whatever is public. */
const confused = (key: string | Buffer, alg = "HS256", who = "rsa-key"): string => {
  const input = `${encode({ typ: "JWT", alg })}.${encode({ key: who })}`;
  return `${input}.${createHmac(`sha${alg.slice(2)}`, key)
    .update(input)
    .digest("base64url")}`;
};

/** Over these very bytes, with the right secret. */
const signedRaw = (header: string, payload: string | Buffer): string => {
  const input = `${encode(header)}.${Buffer.from(payload).toString("base64url")}`;
  return `${input}.${signatureOf("HS256", input, keyOf("HS256").privateKey).toString("base64url")}`;
};

/** r and s of an ECDSA signature, as DER would have them. */
const der = (raw: Buffer): Buffer => {
  const integer = (part: Buffer): Buffer => Buffer.concat([Buffer.from([2, part.length + 1, 0]), part]);
  const both = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
  return Buffer.concat([Buffer.from([0x30, both.length]), both]);
};
const withSignature = (token: string, change: (signature: Buffer) => Buffer): string => {
  const at = token.lastIndexOf(".") + 1;
  return token.slice(0, at) + change(Buffer.from(token.slice(at), "base64url")).toString("base64url");
};

const HS = '{"typ":"JWT","alg":"HS256"}';
const JACK = '{"key":"jack-key"}';
const ec = makeToken({ algorithm: "ES256", payload: { key: "ec-key" } });
const rsa = makeToken({ algorithm: "RS256", payload: { key: "rsa-key" } });

const FORGED: readonly (readonly [says: string, token: (origin: string) => string])[] = [
  ...["none", "None", "NONE", "", "hs256", "HS256\\u0000", "ES256K"].map(
    (alg) => [`alg ${JSON.stringify(alg)}`, () => signedRaw(`{"typ":"JWT","alg":"${alg}"}`, JACK)] as const,
  ),
  ["alg none without a signature", () => `${encode({ alg: "none" })}.${encode({ key: "jack-key" })}.`],
  ["no alg", () => signedRaw('{"typ":"JWT"}', JACK)],
  ["a list as alg", () => signedRaw('{"alg":["HS256"]}', JACK)],
  ...(["HS256", "HS384", "HS512"] as const).flatMap((alg) => [
    [`${alg} with the public PEM as secret`, () => confused(pemOf("RS256"), alg)] as const,
    [`${alg} with the trimmed PEM as secret`, () => confused(pemOf("RS256").trim(), alg)] as const,
    [
      `${alg} with the DER as secret`,
      () => confused(keyOf("RS256").publicKey.export({ type: "spki", format: "der" }), alg),
    ] as const,
    [
      `${alg} with the JWK as secret`,
      () => confused(JSON.stringify(keyOf("RS256").publicKey.export({ format: "jwk" })), alg),
    ] as const,
    [`${alg} with the EC key's PEM as secret`, () => confused(pemOf("ES256"), alg, "ec-key")] as const,
  ]),
  ["an empty secret", () => confused("", "HS256", "jack-key")],
  ...ALL_ALGORITHMS.filter((alg) => alg !== "HS256").map(
    (alg) => [`${alg} for a credential of HS256`, () => makeToken({ algorithm: alg })] as const,
  ),
  ["another secret", () => makeToken({ key: createSecretKey(Buffer.from(`${SECRET}x`)) })],
  [
    "jwk of the attacker's own",
    () => makeToken({ header: { jwk: { kty: "oct", k: "AAAA" } }, key: createSecretKey(Buffer.alloc(3)) }),
  ],
  ["jku", (origin) => makeToken({ header: { jku: `${origin}/jku` }, key: createSecretKey(Buffer.alloc(3)) })],
  ["x5u", (origin) => makeToken({ header: { x5u: `${origin}/x5u` }, key: createSecretKey(Buffer.alloc(3)) })],
  ["kid that is a path", () => makeToken({ header: { kid: "../../dev/null" }, key: createSecretKey(Buffer.alloc(3)) })],
  [
    "kid that is a URL",
    (origin) => makeToken({ header: { kid: `${origin}/kid` }, key: createSecretKey(Buffer.alloc(3)) }),
  ],
  ["unknown crit", () => makeToken({ header: { crit: ["x"], x: 1 } })],
  ["b64 false", () => makeToken({ header: { crit: ["b64"], b64: false } })],
  ["zip", () => makeToken({ header: { zip: "DEF" } })],
  ["five parts", () => `${makeToken()}.AAAA.AAAA`],
  ["two parts", () => makeToken().split(".").slice(0, 2).join(".")],
  ["padding", () => `${makeToken()}==`],
  ["spare bits in the last character", () => `${makeToken().slice(0, -1)}${makeToken().endsWith("B") ? "C" : "B"}`],
  ["a repeated claim", () => signedRaw(HS, '{"key":"eve-key","key":"jack-key"}')],
  ["a repeated alg", () => signedRaw('{"alg":"none","alg":"HS256"}', JACK)],
  ["__proto__ in the payload", () => signedRaw(HS, '{"__proto__":{"key":"jack-key"}}')],
  ["a list as payload", () => signedRaw(HS, '["key"]')],
  ["bytes that are no UTF-8", () => signedRaw(HS, Buffer.from('{"key":"jack-key","x":"\xff"}', "latin1"))],
  ["5,000 levels", () => signedRaw(HS, `{"key":"jack-key","x":${"[".repeat(5_000)}${"]".repeat(5_000)}}`)],
  ["exp as text", () => makeToken({ payload: { key: "jack-key", exp: "9999999999" } })],
  ["exp beyond all numbers", () => signedRaw(HS, '{"key":"jack-key","exp":1e999}')],
  ["exp of the past", () => makeToken({ payload: { key: "jack-key", exp: 1 } })],
  ["nbf of the far future", () => makeToken({ payload: { key: "jack-key", nbf: 9_999_999_999 } })],
  ["a key that is a list", () => makeToken({ payload: { key: ["jack-key"] } })],
  ["a key every object has", () => makeToken({ payload: { key: "constructor" } })],
  ["DER in the place of r and s", () => withSignature(ec, der)],
  ["r and s of zero", () => withSignature(ec, (signature) => Buffer.alloc(signature.length))],
  ["r and s too long", () => withSignature(ec, (signature) => Buffer.concat([Buffer.alloc(2), signature]))],
  ["an RSA signature that is short", () => withSignature(rsa, (signature) => signature.subarray(1))],
  [
    "an RSA signature behind zeros",
    () => withSignature(rsa, (signature) => Buffer.concat([Buffer.alloc(1), signature])),
  ],
];

describe.each([
  { says: "fast lane", args: ["--fast-lane", "on"] },
  { says: "general lane", args: ["--fast-lane", "off"] },
])("$says", ({ args }) => {
  let upstream: RawUpstream;
  let node: Node;
  let origin = "";

  beforeAll(async () => {
    upstream = await openRawUpstream(answering(OK));
    if (!elsewhere.listening) {
      elsewhere.listen(0, "127.0.0.1");
      await new Promise((resolve) => elsewhere.once("listening", resolve));
    }
    const address = elsewhere.address();
    origin = `http://127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}`;
    node = await startNode("start", { args });
    const consumer = (username: string, conf: object) =>
      admin(node, "PUT", "/consumers", { username, plugins: { "jwt-auth": conf } });
    for (const made of [
      await consumer("jack", { key: "jack-key", secret: SECRET }),
      await consumer("rsa", { key: "rsa-key", algorithm: "RS256", ...keyOf("RS256").conf }),
      await consumer("ec", { key: "ec-key", algorithm: "ES256", ...keyOf("ES256").conf }),
      await admin(node, "PUT", "/routes/1", {
        uri: "/*",
        plugins: { "jwt-auth": {} },
        upstream: { type: "roundrobin", nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
      }),
    ])
      expect(made.status, JSON.stringify(made.body)).toBe(201);
    await until("the route", async () => (await call(makeToken())) === 200);
    upstream.clear();
  });

  afterAll(async () => {
    await node?.stop("SIGKILL");
    await upstream?.close();
  });

  const statusOf = async (target: string, lines: string): Promise<number> => {
    const bytes = `GET ${target} HTTP/1.1\r\nHost: h.test\r\n${lines}\r\n`;
    return cutResponse(await send(Number(new URL(node.gateway).port), bytes))?.status ?? 0;
  };
  const call = (token: string): Promise<number> => statusOf("/x", `Authorization: Bearer ${token}\r\n`);

  test("the good ones pass, of each kind, again and again", async () => {
    for (const token of [makeToken(), rsa, ec]) for (let i = 0; i < 3; i++) expect(await call(token)).toBe(200);
    upstream.clear();
  });

  test.each(FORGED)("%s: refused in header, query and cookie, and never seen upstream", async (_says, make) => {
    const token = make(origin);
    expect(await call(token)).toBe(401);
    expect(await statusOf(`/x?jwt=${encodeURIComponent(token)}`, "")).toBe(401);
    expect(await statusOf("/x", `Cookie: jwt=${token}\r\n`)).toBe(401);
    expect(upstream.all).toBe("");
    expect(asked).toEqual([]);
  });

  test("the other s of an ECDSA signature is the same statement, and ends with its credential", async () => {
    const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const mirrored = withSignature(ec, (signature) => {
      const s = ORDER - BigInt(`0x${signature.subarray(32).toString("hex")}`);
      return Buffer.concat([signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, "0"), "hex")]);
    });
    const before = [await call(ec), await call(mirrored)];
    expect(before[0]).toBe(200);
    expect((await admin(node, "DELETE", "/consumers/ec")).status).toBe(200);
    await until("both are refused", async () => (await call(ec)) === 401 && (await call(mirrored)) === 401);
    const again = {
      username: "ec",
      plugins: { "jwt-auth": { key: "ec-key", algorithm: "ES256", ...keyOf("ES256").conf } },
    };
    expect((await admin(node, "PUT", "/consumers", again)).status).toBe(201);
  });

  test("after all of them the node is as it was, and its log shows no token", async () => {
    expect(await call(makeToken())).toBe(200);
    for (const [, make] of FORGED) {
      const signature = make(origin).split(".")[2] ?? "";
      if (signature.length > 20) expect(node.output()).not.toContain(signature);
    }
    expect((await fetch(`${node.status}/ready`)).status).toBe(200);
  });
});

afterAll(() => elsewhere.close());
