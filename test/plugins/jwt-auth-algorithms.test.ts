/** The 13 algorithms: right tokens pass, jose agrees, and no token is taken under another algorithm or key. */
import { createPrivateKey, createSecretKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { CompactSign, compactVerify, importSPKI } from "jose";
import { describe, expect, test } from "vitest";
import { compileSchema } from "../../src/base/schema/schema.ts";
import { bodyText } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { ALL_ALGORITHMS, type AnyAlgorithm, encode, keyOf, makeToken, pairAsKey, SECRET } from "../support/jwt.ts";
import { openJwtNode } from "../support/jwt-auth.ts";

const FAILED = "failed to verify jwt";
const PAIRS = ALL_ALGORITHMS.flatMap((configured) => ALL_ALGORITHMS.map((used) => ({ configured, used })));
const nodes = new Map(ALL_ALGORITHMS.map((algorithm) => [algorithm, openJwtNode({ algorithm })]));
const nodeOf = (algorithm: AnyAlgorithm) => nodes.get(algorithm) ?? openJwtNode({ algorithm });

describe("every algorithm", () => {
  test.each(PAIRS)("a $configured credential and a $used token", async ({ configured, used }) => {
    const called = await nodeOf(configured).callWith(makeToken({ algorithm: used }));
    expect(called.message).toBe(configured === used ? "" : FAILED);
  });

  // Where key types are shared (RS and PS, the HMACs) only the header tells them apart.
  test.each(PAIRS.filter(({ configured, used }) => configured !== used))(
    "a $configured credential refuses a header that says $used over a $configured signature",
    async ({ configured, used }) => {
      const token = makeToken({ algorithm: configured, header: { alg: used } });
      expect((await nodeOf(configured).callWith(token)).message).toBe(FAILED);
    },
  );

  test.each(ALL_ALGORITHMS)("%s: tokens of jose pass", async (algorithm) => {
    const token = await new CompactSign(Buffer.from('{"key":"jack-key"}'))
      .setProtectedHeader({ alg: algorithm, typ: "JWT" })
      .sign(keyOf(algorithm).privateKey);
    expect((await nodeOf(algorithm).callWith(token)).status).toBe(200);
  });

  test.each(ALL_ALGORITHMS)("%s: tokens of the signing endpoint pass jose, and come back", async (algorithm) => {
    const node = nodeOf(algorithm);
    const api = node.env.internalApi("/apisix/plugin/jwt/sign");
    const answer = await api?.handle(makeView({ target: "/x?key=jack-key" }), "/apisix/plugin/jwt/sign");
    const token = bodyText(answer);
    const { payload } = await compactVerify(token, keyOf(algorithm).publicKey, { algorithms: [algorithm] });
    expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({ key: "jack-key" });
    expect((await node.callWith(token)).status).toBe(200);
  });

  test.each(ALL_ALGORITHMS)("%s: jose and we agree about every damaged signature", async (algorithm) => {
    const token = makeToken({ algorithm });
    const dot = token.lastIndexOf(".");
    const signature = Buffer.from(token.slice(dot + 1), "base64url");
    const damaged = [
      signature.subarray(1),
      signature.subarray(0, -1),
      Buffer.concat([signature, Buffer.alloc(1)]),
      Buffer.concat([Buffer.alloc(1), signature]),
      Buffer.alloc(signature.length),
      Buffer.alloc(signature.length, 255),
      Buffer.concat([Buffer.alloc(signature.length / 2), signature.subarray(signature.length / 2)]),
      Buffer.concat([signature.subarray(0, signature.length / 2), Buffer.alloc(signature.length / 2)]),
      ...Array.from({ length: 8 }, (_one, i) => {
        const copy = Buffer.from(signature);
        const at = Math.floor((i * signature.length) / 8);
        copy[at] = (copy[at] as number) ^ (1 << i);
        return copy;
      }),
    ];
    for (const bytes of damaged) {
      const text = `${token.slice(0, dot)}.${bytes.toString("base64url")}`;
      // OpenSSL takes a PSS signature without its leading zeros; RFC 8017 section 8.1.2 does not.
      const whole = bytes.length === signature.length;
      const jose =
        whole &&
        (await compactVerify(text, keyOf(algorithm).publicKey).then(
          () => true,
          () => false,
        ));
      const called = await nodeOf(algorithm).callWith(text);
      expect([called.status === 200, called.status === 200 ? "" : called.message]).toEqual([jose, jose ? "" : FAILED]);
    }
  });
});

describe("public keys used as HMAC secrets", () => {
  const { publicKey, conf } = keyOf("RS256");
  const pem = conf.public_key ?? "";
  const forms: readonly (readonly [string, Buffer])[] = [
    ["the PEM text", Buffer.from(pem)],
    ["without its last newline", Buffer.from(pem.trim())],
    ["with leading newlines", Buffer.from(`\n\n ${pem}`)],
    ["with a byte order mark", Buffer.from(`\ufeff${pem}`)],
    ["with text before it", Buffer.from(`key:\n${pem}`)],
    ["with CRLF", Buffer.from(pem.replaceAll("\n", "\r\n"))],
    ["PKCS#1 PEM", Buffer.from(publicKey.export({ type: "pkcs1", format: "pem" }))],
    ["SPKI DER", publicKey.export({ type: "spki", format: "der" })],
    ["PKCS#1 DER", publicKey.export({ type: "pkcs1", format: "der" })],
    ["JWK JSON", Buffer.from(JSON.stringify(publicKey.export({ format: "jwk" })))],
    ["nothing", Buffer.alloc(0)],
  ];
  test.each(forms)("%s", async (_says, secret) => {
    for (const algorithm of ["HS256", "HS384", "HS512"] as const) {
      const forged = makeToken({ algorithm, key: createSecretKey(secret) });
      expect((await nodeOf("RS256").callWith(forged)).message).toBe(FAILED);
      expect((await nodeOf("PS256").callWith(makeToken({ algorithm, key: createSecretKey(secret) }))).message).toBe(
        FAILED,
      );
    }
  });
});

describe("ES256 signatures", () => {
  test("in DER are refused", async () => {
    const { sign } = await import("node:crypto");
    const input = `${encode({ alg: "ES256" })}.${encode({ key: "jack-key" })}`;
    const der = sign("sha256", Buffer.from(input), keyOf("ES256").privateKey);
    expect((await nodeOf("ES256").callWith(`${input}.${der.toString("base64url")}`)).message).toBe(FAILED);
  });

  test("with the other s are the same statement, and are revoked with it", async () => {
    const order = BigInt("0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    const token = makeToken({ algorithm: "ES256", payload: { key: "jack-key", jti: "t1" } });
    const dot = token.lastIndexOf(".");
    const raw = Buffer.from(token.slice(dot + 1), "base64url");
    const s = order - BigInt(`0x${raw.subarray(32).toString("hex")}`);
    const other = Buffer.concat([raw.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, "0"), "hex")]);
    const copy = `${token.slice(0, dot)}.${other.toString("base64url")}`;
    const node = openJwtNode({ algorithm: "ES256" });
    expect((await node.callWith(token)).status).toBe(200);
    node.revocations.revoke(token);
    expect((await node.callWith(token)).message).toBe(FAILED);
    expect((await node.callWith(copy)).message).toBe(FAILED);
  });
});

/** Self-signed for these tests; its private key was thrown away. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIDCTCCAfGgAwIBAgIUfg4UfHVq9G9LdJvU/jFtDSMujBwwDQYJKoZIhvcNAQEL
BQAwEzERMA8GA1UEAwwIand0LnRlc3QwIBcNMjYxMTIzMTgzMjU5WhgPMjEyNjEw
MzAxODMyNTlaMBMxETAPBgNVBAMMCGp3dC50ZXN0MIIBIjANBgkqhkiG9w0BAQEF
AAOCAQ8AMIIBCgKCAQEApxlI+phuYL+JmMqvP6rf3YKAQbY5dxDbzOm1+eKZvzkH
g2BUYAM2QNRNO7tX6mwZEStlXnr0Qoq3/a/9aM46mRvUYiOcGZCOLmzmAGf/aFCd
skaGPj7E1c+nXJyc4njGxruQF4njh43SiJuPV79PVGfXmDlxggGQXsvvVakR/r12
5s1uy6OAnYcA4jjKe2nhetdGNeBlLcFN3ZqczRkJ48lmBlvqf9o1+8LyN3d9rBnG
e424n43FO1OYEo6lUD3W2NbIo8Fs5Snm0/RHSXdNTbv5NThZ6exMUzgK4j7Kauvl
wYJzsTQTqWhO1c+bOlMxRLxx8NCJz0gZf3Vu6RZDhwIDAQABo1MwUTAdBgNVHQ4E
FgQUQ9+WWqU1tlFE17xYVbehh0H3kBUwHwYDVR0jBBgwFoAUQ9+WWqU1tlFE17xY
Vbehh0H3kBUwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOCAQEAJgNs
D6qS9X9k6Y1UgHD9uVqkdlwDQKLvpeghtTYPC1EALuPpIWFYO1fy6mB9u5PrLVxW
n0qvk++5yVoFOcWLAI8EwS3Db4bPh6sKABUYRW3rHew7IgUFVpQ4hC7g88tiem3f
e3aq4vzk74lT/ZahYGpJHK3DTzhJPEeFQW00GOGc6DiJKwCnU9AUC0CQnIogBnBU
7MEM8ZM9Tmpw28JbdnjcD9IxyQrKGz34Lh+rjXnDIKLVl4RJUzYiOmuFIERgFVNB
YaDGAHYHg4jsYGpcIpmkO/tKV9mCL9v2QxmND6KvFi1oEKu53H4aJd4FSmdwW1Zi
ZJ30D65HCG0HJxe8RA==
-----END CERTIFICATE-----
`;

describe("keys of other sizes and forms", () => {
  test.each([3072, 4096])("RSA of %i bits works with RS256 and PS512", async (modulusLength) => {
    const { conf, privateKey } = pairAsKey(generateKeyPairSync("rsa", { modulusLength }));
    for (const algorithm of ["RS256", "PS512"] as const) {
      const node = openJwtNode({ algorithm, jack: { algorithm, ...conf } });
      expect((await node.callWith(makeToken({ algorithm, key: privateKey }))).status).toBe(200);
    }
  });

  test("Ed448 works with EdDSA", async () => {
    const { conf, privateKey } = pairAsKey(generateKeyPairSync("ed448"));
    const node = openJwtNode({ algorithm: "EdDSA", jack: conf });
    expect((await node.callWith(makeToken({ algorithm: "EdDSA", key: privateKey }))).status).toBe(200);
    expect((await node.callWith(makeToken({ algorithm: "EdDSA" }))).message).toBe(FAILED);
  });

  test("PKCS#1, SEC1 and blanks around are read", async () => {
    const rsa = keyOf("RS256");
    const node = openJwtNode({
      algorithm: "RS256",
      jack: {
        public_key: `\n ${rsa.publicKey.export({ type: "pkcs1", format: "pem" })}\n`,
        private_key: rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString(),
      },
    });
    expect((await node.callWith(makeToken({ algorithm: "RS256" }))).status).toBe(200);
    const sec1 = createPrivateKey(keyOf("ES256").conf.private_key ?? "").export({ type: "sec1", format: "pem" });
    expect(jackError({ algorithm: "ES256", ...keyOf("ES256").conf, private_key: sec1.toString() })).toBeUndefined();
  });

  test("a certificate is read", async () => {
    const node = openJwtNode({ algorithm: "RS256", jack: { public_key: CERTIFICATE } });
    const key = new X509Certificate(CERTIFICATE).publicKey;
    expect(await importSPKI(key.export({ type: "spki", format: "pem" }).toString(), "RS256")).toBeDefined();
    expect((await node.callWith(makeToken({ algorithm: "RS256" }))).message).toBe(FAILED);
  });
});

/** What the Admin API says to a consumer-side configuration. */
function jackError(
  conf: Readonly<Record<string, unknown>>,
  compat: "default" | "strict" = "default",
): string | undefined {
  const full = { key: "jack-key", ...conf };
  const definition = jwtAuth.credential;
  if (!definition) throw new TypeError("jwt-auth has a consumer side");
  return compileSchema(definition.schema, { references: true }).check(full) ?? definition.check?.(full, { compat });
}

describe("the consumer's configuration", () => {
  const rsa1024 = pairAsKey(generateKeyPairSync("rsa", { modulusLength: 1024 })).conf;
  const secp256k1 = pairAsKey(generateKeyPairSync("ec", { namedCurve: "secp256k1" })).conf;
  const DEPENDENT =
    'failed to validate dependent schema for "algorithm": value should match only one schema, but matches none';
  test.each([
    { says: "key is needed", conf: { key: undefined, secret: "s" }, error: 'property "key" is required' },
    {
      says: "key is text",
      conf: { key: 1 },
      error: 'property "key" validation failed: wrong type: expected string, got number',
    },
    {
      says: "exp is at least 1",
      conf: { exp: 0, secret: "s" },
      error: 'property "exp" validation failed: expected 0 to be at least 1',
    },
    {
      says: "the algorithm is known",
      conf: { algorithm: "HS1024", secret: "s" },
      error: 'property "algorithm" validation failed: matches none of the enum values',
    },
    {
      says: "the grace period is not negative",
      conf: { lifetime_grace_period: -1 },
      error: 'property "lifetime_grace_period" validation failed: expected -1 to be at least 0',
    },
    { says: "RS256 needs a public key", conf: { algorithm: "RS256", secret: "s" }, error: DEPENDENT },
    { says: "EdDSA needs a public key", conf: { algorithm: "EdDSA" }, error: DEPENDENT },
    { says: "HS256 needs a secret", conf: {}, error: 'property "secret" is required when using HS based algorithms' },
    {
      says: "HS512 needs a secret",
      conf: { algorithm: "HS512" },
      error: 'property "secret" is required when using HS based algorithms',
    },
    {
      says: "a base64 secret is base64",
      conf: { secret: "not base64!", base64_secret: true },
      error: "base64_secret required but the secret is not in base64 format",
    },
    { says: "a base64 secret is not empty", conf: { secret: "==", base64_secret: true }, error: "the secret is empty" },
    {
      says: "base64 without padding is fine",
      conf: { secret: "c2VjcmV0LWJ5dGVzMQ", base64_secret: true },
      error: undefined,
    },
    { says: "a reference is no base64 yet", conf: { secret: "$ENV://X", base64_secret: true }, error: undefined },
    { says: "a short secret is fine", conf: { secret: "s" }, error: undefined },
    {
      says: "a public key may be a reference",
      conf: { algorithm: "RS256", public_key: "$secret://vault/1/a/b" },
      error: undefined,
    },
    {
      says: "a private key is not needed",
      conf: { algorithm: "RS256", public_key: keyOf("RS256").conf.public_key },
      error: undefined,
    },
    {
      says: "a weak RSA key is fine",
      conf: { algorithm: "RS256", public_key: rsa1024.public_key },
      error: undefined,
    },
    {
      says: "another curve is refused",
      conf: { algorithm: "ES256", public_key: secp256k1.public_key },
      error: "public_key is on curve secp256k1, ES256 needs prime256v1",
    },
    {
      says: "another type is refused",
      conf: { algorithm: "EdDSA", public_key: keyOf("ES256").conf.public_key },
      error: "public_key is of type ec, which EdDSA cannot use",
    },
    {
      says: "a private key has a public half",
      conf: { algorithm: "RS256", public_key: keyOf("RS256").conf.private_key },
      error: undefined,
    },
    {
      says: "a request for a certificate is no public key",
      conf: {
        algorithm: "RS256",
        public_key: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
      },
      error: "public_key is not a PEM public key or certificate",
    },
    {
      says: "a broken public key is refused",
      conf: { algorithm: "RS256", public_key: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----" },
      error: "public_key cannot be read as a PEM key",
    },
  ])("$says", ({ conf, error }) => {
    const given = Object.fromEntries(Object.entries({ key: "k", ...conf }).filter(([, value]) => value !== undefined));
    const definition = jwtAuth.credential;
    const schema = compileSchema(definition?.schema ?? {}, { references: true });
    expect(schema.check(given) ?? definition?.check?.(given, { compat: "default" })).toBe(error);
  });

  test.each([
    ["HS256", 31],
    ["HS384", 47],
    ["HS512", 63],
  ] as const)("%s: strict refuses a secret of %i bytes, and takes one byte more", (algorithm, bytes) => {
    const short = `the secret has ${bytes} bytes, ${algorithm} needs at least ${bytes + 1}`;
    expect(jackError({ algorithm, secret: "x".repeat(bytes) }, "strict")).toBe(short);
    expect(jackError({ algorithm, secret: "x".repeat(bytes + 1) }, "strict")).toBeUndefined();
    expect(() =>
      openJwtNode({ algorithm, jack: { secret: "x".repeat(bytes) }, settings: { compat: "strict" } }),
    ).toThrow(short);
  });

  const weakKeys = [
    {
      says: "an RSA key of 1024 bits",
      key: pairAsKey(generateKeyPairSync("rsa", { modulusLength: 1024 })),
      weakness: "public_key has 1024 bits, RSA needs at least 2048",
    },
    {
      says: "an RSA key of 512 bits",
      key: pairAsKey(generateKeyPairSync("rsa", { modulusLength: 512 })),
      weakness: "public_key has 512 bits, RSA needs at least 2048",
    },
    {
      says: "a private key in the place of the public one",
      key: { ...keyOf("RS256"), conf: { public_key: keyOf("RS256").conf.private_key } },
      weakness: "public_key is a private key",
    },
  ];
  test.each(weakKeys)("$says verifies with a warning; strict refuses it", async ({ key, weakness }) => {
    const conf = { algorithm: "RS256", public_key: key.conf.public_key };
    const node = openJwtNode({ algorithm: "RS256", jack: conf });
    const token = makeToken({ algorithm: "RS256", key: key.privateKey, payload: { key: "jack-key" } });
    expect((await node.callWith(token)).status).toBe(200);
    expect((await node.callWith(makeToken({ payload: { key: "jack-key" } }))).status).toBe(401);
    expect(node.env.logged.map(({ message }) => message)).toContain(weakness);
    expect(jackError(conf, "strict")).toBe(weakness);
    expect(() => openJwtNode({ algorithm: "RS256", jack: conf, settings: { compat: "strict" } })).toThrow(weakness);
  });

  test("a short secret is warned about, a million times ten times a minute", () => {
    const node = openJwtNode();
    for (let i = 0; i < 100; i++) node.jack({ secret: "short" });
    expect(node.env.logged.map(({ message }) => message)).toEqual(
      Array(10).fill("the secret has 5 bytes, HS256 needs at least 32"),
    );
    node.env.clock.advance(60_000);
    node.jack({ secret: "short" });
    expect(node.env.logged.slice(10).map(({ message, fields }) => [message, fields["left"]])).toEqual([
      ["more warnings were left out", 90],
      ["the secret has 5 bytes, HS256 needs at least 32", undefined],
    ]);
  });

  test("a resolved secret that is no base64 verifies nothing", async () => {
    const node = openJwtNode();
    const data = jwtAuth.credential?.compile(
      { key: "k", secret: "env-key-1", base64_secret: true, algorithm: "HS256", exp: 1, lifetime_grace_period: 0 },
      node.env,
    );
    expect(data).toMatchObject({ verifier: undefined, signer: "incomplete" });
  });

  test.each(["", "=="])("a resolved secret %j is no secret", (secret) => {
    const node = openJwtNode();
    const conf = { key: "k", secret, base64_secret: true, algorithm: "HS256", exp: 1, lifetime_grace_period: 0 };
    expect(() => jwtAuth.credential?.compile(conf, node.env)).toThrow("the secret is empty");
  });
});

describe("a generated secret", () => {
  const prepare = (
    conf: Record<string, unknown>,
    previous?: Record<string, unknown>,
    compat: "default" | "strict" = "default",
  ) => jwtAuth.credential?.prepare?.(conf, previous, { compat });

  test("is 44 characters of base64 from 32 random bytes", () => {
    const made = prepare({ key: "k" })?.["secret"] as string;
    expect(made).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(prepare({ key: "k" })?.["secret"]).not.toBe(made);
    expect(prepare({ key: "k", base64_secret: true })?.["secret"]).toHaveLength(44);
  });

  test.each([
    { says: "is kept when the consumer is put again", conf: {}, previous: { secret: "old" }, want: "old" },
    {
      says: "a given one is kept, too",
      conf: { algorithm: "HS384" },
      previous: { secret: "$ENV://S" },
      want: "$ENV://S",
    },
    { says: "a new one wins", conf: { secret: "new" }, previous: { secret: "old" }, want: "new" },
    { says: "is not made for key pairs", conf: { algorithm: "RS256" }, previous: { secret: "old" }, want: undefined },
  ])("$says", ({ conf, previous, want }) => {
    expect(prepare({ key: "k", ...conf }, previous)?.["secret"]).toBe(want);
  });

  test("is made anew when the old one is no base64 and should be", () => {
    expect(prepare({ key: "k", base64_secret: true }, { secret: "not base64!" })?.["secret"]).toHaveLength(44);
  });

  test("is not made in strict", () => {
    expect(prepare({ key: "k" }, { secret: "old" }, "strict")).toEqual({ key: "k" });
  });

  test("is used as the text it is", async () => {
    const secret = prepare({ key: "jack-key" })?.["secret"] as string;
    const node = openJwtNode({ jack: { secret } });
    expect((await node.callWith(makeToken({ key: createSecretKey(Buffer.from(secret)) }))).status).toBe(200);
    expect((await node.callWith(makeToken({ key: createSecretKey(Buffer.from(secret, "base64")) }))).status).toBe(401);
    const decoded = openJwtNode({ jack: { secret: Buffer.from(SECRET).toString("base64"), base64_secret: true } });
    expect((await decoded.callWith(makeToken())).status).toBe(200);
  });
});
