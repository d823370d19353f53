/**
 * Nobody learns by time which client ids there are: whoever guesses costs the same work, counted here as calls of the
 * functions that take time; docs/spec/tokens.md section 14.
 */
import crypto, { generateKeyPairSync, type KeyObject } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { basic, GRANT, ISSUER, NOW, openWorld, SECRET, type World } from "../support/authorization-server.ts";
import { type AnyAlgorithm, keyOf, makeToken, type TokenInput } from "../support/jwt.ts";

const work: string[] = [];

// In place, so that whoever has imported them already calls these.
const real = { verify: crypto.verify, timingSafeEqual: crypto.timingSafeEqual, hash: crypto.hash };
beforeAll(() => {
  Object.assign(crypto, {
    verify(...args: readonly [string, Buffer, { readonly key: KeyObject }, Buffer]): boolean {
      const [hash, , { key }, signature] = args;
      const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
      work.push(`verify ${key.asymmetricKeyType} ${modulusLength ?? namedCurve ?? ""} ${hash} ${signature.length}`);
      return real.verify(...args);
    },
    timingSafeEqual(one: Buffer, other: Buffer): boolean {
      work.push(`compare ${one.length}`);
      return real.timingSafeEqual(one, other);
    },
    hash(...args: Parameters<typeof real.hash>) {
      work.push(`hash ${args[0]} ${String(args[1]).length}`);
      return real.hash(...args);
    },
  });
  syncBuiltinESMExports();
});
afterAll(() => {
  Object.assign(crypto, real);
  syncBuiltinESMExports();
});

const TYPE = encodeURIComponent("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
const KEYS: readonly (readonly [string, AnyAlgorithm])[] = [
  ["r", "RS256"],
  ["e", "ES256"],
  ["t", "ES384"],
  ["d", "EdDSA"],
];
const large = generateKeyPairSync("rsa", { modulusLength: 3_072 });

function client(id: string, keys: readonly object[]) {
  const auth = {
    client_id: id,
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys },
    audiences: ["https://a"],
  };
  return { username: id, auth: { "oauth2-client": auth } };
}

const CONSUMERS = [
  ...KEYS.map(([id, algorithm]) =>
    client(id, [{ ...keyOf(algorithm).publicKey.export({ format: "jwk" }), kid: "k1" }]),
  ),
  client("l", [{ ...large.publicKey.export({ format: "jwk" }), kid: "k1" }]),
  client("two", [
    { ...keyOf("RS256").publicKey.export({ format: "jwk" }), kid: "k1" },
    { ...large.publicKey.export({ format: "jwk" }), kid: "k2" },
  ]),
];
const IDS = [...KEYS.map(([id]) => id), "l", "two", "batch"];

/** What an attacker can make: signed by keys of its own, which no client has. */
function forged(id: string, algorithm: AnyAlgorithm, more: TokenInput = {}): string {
  const payload = { iss: id, sub: id, aud: ISSUER, exp: NOW + 60, jti: "x" };
  const token = makeToken({ algorithm, header: { kid: "k1" }, payload, ...more });
  const [head, body, signature = ""] = token.split(".");
  const bytes = Buffer.from(signature, "base64url");
  bytes[8] = 1 ^ (bytes[8] ?? 0);
  return `${head}.${body}.${bytes.toString("base64url")}`;
}

async function workOf(world: World, form: string, headers: Record<string, string> = {}): Promise<readonly string[]> {
  work.length = 0;
  expect((await world.token(form, headers)).status).toBe(401);
  return [...work];
}

const byAssertion = (text: string): string => `${GRANT}&client_assertion_type=${TYPE}&client_assertion=${text}`;

describe("whoever guesses costs as much for a client that there is as for one that is not", () => {
  let world: World;
  beforeEach(async () => {
    world = await openWorld({ consumers: CONSUMERS });
  });

  test.each(["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"] as const)(
    "by assertions of %s",
    async (algorithm) => {
      for (const header of [{ kid: "k1" }, { kid: "other" }, {}]) {
        const of = (id: string): Promise<readonly string[]> =>
          workOf(world, byAssertion(forged(id, algorithm, { header })));
        const unknown = await of("nobody");
        expect(unknown).toHaveLength(Object.hasOwn(header, "kid") ? 1 : 4);
        for (const id of IDS) expect([id, header, await of(id)]).toEqual([id, header, unknown]);
      }
    },
  );

  test("by assertions with keys of another size", async () => {
    const of = (id: string): Promise<readonly string[]> =>
      workOf(world, byAssertion(forged(id, "RS256", { key: large.privateKey })));
    const unknown = await of("nobody");
    expect(unknown).toEqual(["verify rsa 3072 sha256 384"]);
    for (const id of IDS) expect([id, await of(id)]).toEqual([id, unknown]);
  });

  test("by secrets, whichever its client has", async () => {
    const unknown = await workOf(world, GRANT, basic("nobody", "a-guess"));
    expect(unknown.filter((one) => one === "compare 32").length).toBeGreaterThanOrEqual(4);
    for (const id of IDS) expect([id, await workOf(world, GRANT, basic(id, "a-guess"))]).toEqual([id, unknown]);
    const post = (id: string): Promise<readonly string[]> =>
      workOf(world, `${GRANT}&client_id=${id}&client_secret=${SECRET}x`);
    const posted = await post("nobody");
    for (const id of IDS) expect([id, await post(id)]).toEqual([id, posted]);
  });
});
