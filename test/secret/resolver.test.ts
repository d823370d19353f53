import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { FakeClock } from "../../src/base/clock.ts";
import { isCodedError } from "../../src/base/errors.ts";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";
import type { ExchangeAnswer } from "../../src/base/net/guarded-exchange.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { openSecrets, type SecretLimits, type SecretOptions, type SecretResolver } from "../../src/secret/resolver.ts";
import { openSecretServer, type SecretServer, serveVault } from "../support/secret-server.ts";

const ENVIRONMENT = {
  KEY: "env-key",
  EMPTY: "",
  JSON: '{"a":"x","n":7,"b/c":"deep","o":{"p":1},"z":null}',
  BROKEN: "{",
  LOOP: "$ENV://KEY",
  TOKEN: "root",
  JOTGATE_ADMIN_KEY: "top secret",
};
const CONF = { uri: "", prefix: "kv/apisix", token: "root" };

let server: SecretServer;
const store = new Map<string, unknown>();
beforeAll(async () => {
  server = await openSecretServer();
});
afterAll(() => server.close());
beforeEach(() => {
  store.clear();
  store.set("kv/apisix/jack", { "jwt-key": "jwt-vault-key", other: "o" });
  server.seen.length = 0;
  serveVault(server, store);
});

interface Opened {
  readonly secrets: SecretResolver;
  readonly clock: FakeClock;
  readonly logged: readonly { readonly message: string; readonly fields: unknown }[];
  readonly changed: string[];
  readonly metrics: SecretOptions["metrics"];
}

function open(limits: Partial<SecretLimits> = {}, more: Partial<SecretOptions> = {}): Opened {
  const { clock, log, logged } = makeEnv();
  const metrics = openMetrics();
  const secrets = openSecrets({ environment: ENVIRONMENT, clock, log, metrics, limits, ...more });
  const changed: string[] = [];
  secrets.onChange((reference) => changed.push(reference));
  secrets.setConf("vault", "jwt", { ...CONF, uri: server.url });
  return { secrets, clock, logged, changed, metrics };
}

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    return `resolved to ${String(await promise)}`;
  } catch (error) {
    return isCodedError(error, "SECRET_UNRESOLVED") ? error.message : `another error: ${String(error)}`;
  }
}

const settled = async (until: () => boolean): Promise<void> => {
  const endMs = performance.now() + 10_000;
  while (!until() && performance.now() < endMs) await new Promise((resolve) => setImmediate(resolve));
  expect(until()).toBe(true);
};

describe("the environment", () => {
  test.each([
    { reference: "$ENV://KEY", value: "env-key" },
    { reference: "$env://KEY", value: "env-key" },
    { reference: "$Env://EMPTY", value: "" },
    { reference: "$ENV://JSON/a", value: "x" },
    { reference: "$ENV://JSON/n", value: 7 },
    { reference: "$ENV://JSON/b/c", value: "deep" },
    { reference: "$ENV://JSON/o", value: { p: 1 } },
  ])("$reference is $value, at once and later", async ({ reference, value }) => {
    const { secrets } = open();
    expect(secrets.resolveEnv(reference)).toEqual(value);
    expect(secrets.peek(reference)).toEqual(value);
    expect(await secrets.resolve(reference)).toEqual(value);
  });

  test.each([
    { reference: "$ENV://key", why: "no environment variable key" },
    { reference: "$ENV://toString", why: "no environment variable toString" },
    { reference: "$ENV://JSON/none", why: "no such field: none" },
    { reference: "$ENV://JSON/z", why: "no such field: z" },
    { reference: "$ENV://JSON/toString", why: "no such field: toString" },
    { reference: "$ENV://BROKEN/a", why: "decode failed, err: environment variable BROKEN is not JSON" },
    { reference: "$ENV://LOOP", why: "the value is itself a reference" },
    { reference: "$ENV://JOTGATE_ADMIN_KEY", why: "environment variable JOTGATE_ADMIN_KEY may not be referenced" },
    { reference: "$ENV://", why: "error format: no environment variable name" },
  ])("$reference is unresolved: $why", async ({ reference, why }) => {
    const { secrets, logged } = open();
    expect(await failure(secrets.resolve(reference))).toBe(`${reference}: ${why}`);
    expect(logged.at(-1)?.fields).toEqual({ why: `${reference}: ${why}` });
    expect(() => secrets.resolveEnv(reference)).toThrow(why);
    expect(secrets.peek(reference)).toBeUndefined();
  });

  test.each([
    { allowEnv: ["KEY"], open: ["KEY"], closed: ["TOKEN", "KEY2"] },
    { allowEnv: ["TO*", "JOTGATE_*"], open: ["TOKEN"], closed: ["KEY", "JOTGATE_ADMIN_KEY"] },
    { allowEnv: [], open: [], closed: ["KEY"] },
  ])("only names in $allowEnv may be referenced", (row) => {
    const { secrets } = open({}, { allowEnv: row.allowEnv });
    for (const name of row.open) expect(secrets.resolveEnv(`$ENV://${name}`)).toBeDefined();
    for (const name of row.closed) expect(() => secrets.resolveEnv(`$ENV://${name}`)).toThrow("may not be referenced");
  });

  test("a text that is no reference is not repeated in the error", async () => {
    expect(await failure(open().secrets.resolve("hunter2"))).not.toContain("hunter2");
    expect(() => open().secrets.resolveEnv("$secret://vault/jwt/jack/jwt-key")).toThrow("not an environment reference");
  });
});

describe("a secret manager", () => {
  const REFERENCE = "$secret://vault/jwt/jack/jwt-key";

  test.each([
    { reference: "$secret://vault", why: "error format: no secret manager" },
    { reference: "$secret://vault/jwt", why: "error format: no secret conf id" },
    { reference: "$secret://vault/jwt/", why: "error format: no secret key id" },
    { reference: "$secret://vault/none/a/b", why: "no secret conf, secret_uri: $secret://vault/none/a/b" },
    { reference: "$secret://keeper/1/a/b", why: "no secret conf, secret_uri: $secret://keeper/1/a/b" },
    { reference: "$secret://vault/jwt/jack", why: "error key format, key: jack" },
    { reference: "$secret://vault/jwt//field", why: "can't find main key, key: /field" },
    { reference: "$secret://vault/jwt/jack/", why: "can't find sub key, key: jack/" },
    { reference: "$secret://vault/jwt/jack/none", why: "no such field: none" },
    { reference: "$secret://vault/jwt/nobody/key", why: "failed to decode result, status 404" },
  ])("$reference is unresolved: $why", async ({ reference, why }) => {
    expect(await failure(open().secrets.resolve(reference))).toBe(`${reference}: ${why}`);
  });

  test("is asked once by all who come together, and not again for 300 s", async () => {
    const { secrets, clock } = open();
    expect(secrets.peek(REFERENCE)).toBeUndefined();
    const values = await Promise.all(Array.from({ length: 20 }, () => secrets.resolve(REFERENCE)));
    expect(new Set(values)).toEqual(new Set(["jwt-vault-key"]));
    clock.advance(299_999);
    await secrets.resolve(REFERENCE);
    expect(server.seen).toHaveLength(1);
    store.set("kv/apisix/jack", { "jwt-key": "rotated" });
    clock.advance(1);
    expect(await secrets.resolve(REFERENCE)).toBe("rotated");
    expect(server.seen).toHaveLength(2);
  });

  test("that refused is not asked again for 60 s", async () => {
    const { secrets, clock } = open();
    const reference = "$secret://vault/jwt/jane/key";
    await failure(secrets.resolve(reference));
    store.set("kv/apisix/jane", { key: "there now" });
    clock.advance(59_999);
    expect(await failure(secrets.resolve(reference))).toContain("status 404");
    expect(server.seen).toHaveLength(1);
    clock.advance(1);
    expect(await secrets.resolve(reference)).toBe("there now");
  });

  test("is asked once for two fields of one path", async () => {
    const { secrets } = open();
    const both = await Promise.all([secrets.resolve(REFERENCE), secrets.resolve("$secret://vault/jwt/jack/other")]);
    expect(both).toEqual(["jwt-vault-key", "o"]);
    expect(server.seen).toHaveLength(1);
  });

  test("that is away leaves a known value in use, and an unknown one unresolved", async () => {
    const { secrets, clock, changed } = open();
    await secrets.resolve(REFERENCE);
    server.answer = (_request, response) => response.destroy();
    clock.advance(300_000);
    expect(await secrets.resolve(REFERENCE)).toBe("jwt-vault-key");
    expect(await failure(secrets.resolve("$secret://vault/jwt/jack/other"))).toContain(
      "failed to retrtive data from vault kv engine: 127.0.0.1",
    );
    expect(changed).toEqual([]);
  });

  test("that has lost its token's rights does not take a known value away", async () => {
    const { secrets, clock } = open();
    await secrets.resolve(REFERENCE);
    server.answer = (_request, response) => response.writeHead(403).end('{"errors":["permission denied"]}');
    clock.advance(300_000);
    expect(await secrets.resolve(REFERENCE)).toBe("jwt-vault-key");
  });

  test("that says it is gone takes the value away", async () => {
    const { secrets, clock, changed } = open();
    await secrets.resolve(REFERENCE);
    store.clear();
    clock.advance(300_000);
    expect(await failure(secrets.resolve(REFERENCE))).toContain("status 404");
    expect(changed).toEqual([REFERENCE]);
  });

  test("whose record changes or goes is asked anew at once", async () => {
    const { secrets } = open();
    await secrets.resolve(REFERENCE);
    secrets.setConf("vault", "jwt", { ...CONF, uri: server.url });
    await secrets.resolve(REFERENCE);
    expect(server.seen).toHaveLength(1);
    store.set("other/jack", { "jwt-key": "from the other" });
    secrets.setConf("vault", "jwt", { ...CONF, uri: server.url, prefix: "other" });
    expect(await secrets.resolve(REFERENCE)).toBe("from the other");
    secrets.setConf("vault", "jwt", undefined);
    expect(secrets.peek(REFERENCE)).toBeUndefined();
    expect(await failure(secrets.resolve(REFERENCE))).toContain("no secret conf");
  });

  test("whose record comes late is asked when it is there, whatever was remembered", async () => {
    const { secrets } = open();
    const reference = "$secret://vault/late/jack/jwt-key";
    expect(await failure(secrets.resolve(reference))).toContain("no secret conf");
    secrets.setConf("vault", "late", { ...CONF, uri: server.url });
    expect(await secrets.resolve(reference)).toBe("jwt-vault-key");
  });

  test("whose record changes while it is asked: the old answer is nobody's", async () => {
    const answers: ((answer: ExchangeAnswer) => void)[] = [];
    const { secrets } = open({}, { fetch: () => new Promise((resolve) => answers.push(resolve)) });
    const value = secrets.resolve(REFERENCE);
    await settled(() => answers.length === 1);
    secrets.setConf("vault", "jwt", { ...CONF, uri: "http://other" });
    answers[0]?.({ status: 200, body: Buffer.from('{"data":{"jwt-key":"old"}}') });
    await settled(() => answers.length === 2);
    answers[1]?.({ status: 200, body: Buffer.from('{"data":{"jwt-key":"new"}}') });
    expect(await value).toBe("new");
  });

  test.each([
    {
      says: "no token",
      record: { uri: "http://x", prefix: "kv" },
      why: 'invalid configuration: property "token" is required',
    },
    {
      says: "no address",
      record: { ...CONF, uri: "root:hunter2" },
      why: /^invalid configuration: property "uri" validation failed/,
    },
    { says: "no object", record: "vault", why: /^invalid configuration/ },
  ])("with a record that has $says opens nothing", async ({ record, why }) => {
    const { secrets, logged } = open();
    secrets.setConf("vault", "bad", record);
    expect(logged.at(-1)).toMatchObject({
      message: "secret manager unusable",
      fields: { why: expect.stringMatching(why) },
    });
    expect(JSON.stringify(logged)).not.toContain("hunter2");
    expect(await failure(secrets.resolve("$secret://vault/bad/a/b"))).toContain("no secret conf");
  });

  test("is not asked more than eight things at a time", async () => {
    let now = 0;
    let most = 0;
    const { secrets } = open(
      {},
      {
        fetch: async () => {
          most = Math.max(most, ++now);
          await new Promise((resolve) => setImmediate(resolve));
          now--;
          return { status: 200, body: Buffer.from('{"data":{"k":"v"}}') };
        },
      },
    );
    await Promise.all(Array.from({ length: 100 }, (_one, i) => secrets.resolve(`$secret://vault/jwt/p${i}/k`)));
    expect(most).toBe(8);
  });
});

describe("what is remembered", () => {
  const count = async (metrics: SecretOptions["metrics"], state: string): Promise<number | undefined> => {
    const line = new RegExp(`^jotgate_secret_references\\{state="${state}"\\} (\\d+)$`, "m").exec(
      await metricsText(metrics),
    );
    return line ? Number(line[1]) : undefined;
  };

  test("is bounded, and what is held is not forgotten", async () => {
    const { secrets, metrics } = open(
      { entries: 10 },
      { fetch: async () => ({ status: 200, body: Buffer.from('{"data":{"k":"v"}}') }) },
    );
    const held = Array.from({ length: 20 }, (_one, i) => `$secret://vault/jwt/held${i}/k`);
    const release = secrets.hold(held);
    for (const reference of held) await secrets.resolve(reference);
    for (let i = 0; i < 100; i++) await secrets.resolve(`$secret://vault/jwt/free${i}/k`);
    expect(await count(metrics, "found")).toBe(30);
    expect(secrets.peek(held[0] ?? "")).toBe("v");
    release();
    release();
    expect(await count(metrics, "found")).toBe(10);
  });
});

describe("a held reference", () => {
  const REFERENCE = "$secret://vault/jwt/jack/jwt-key";

  test("is read again in the background, and its change is told", async () => {
    const { secrets, clock, changed } = open();
    const release = secrets.hold([REFERENCE, "$ENV://KEY", "no reference"]);
    await secrets.resolve(REFERENCE);
    clock.advance(302_000);
    await settled(() => server.seen.length === 2);
    // Joins the reading under way.
    await secrets.resolve(REFERENCE);
    expect(changed).toEqual([]);
    store.set("kv/apisix/jack", { "jwt-key": "rotated" });
    clock.advance(302_000);
    await settled(() => changed.length === 1);
    expect(changed).toEqual([REFERENCE]);
    expect(secrets.peek(REFERENCE)).toBe("rotated");
    release();
    const asked = server.seen.length;
    clock.advance(10_000_000);
    expect(server.seen).toHaveLength(asked);
  });

  test("is told when its value comes at last, and when it goes", async () => {
    const { secrets, changed } = open();
    secrets.hold([REFERENCE]);
    secrets.setConf("vault", "jwt", undefined);
    expect(await failure(secrets.resolve(REFERENCE))).toContain("no secret conf");
    secrets.setConf("vault", "jwt", { ...CONF, uri: server.url });
    await settled(() => changed.length === 1);
    expect(secrets.peek(REFERENCE)).toBe("jwt-vault-key");
    secrets.setConf("vault", "jwt", undefined);
    await settled(() => changed.length === 2);
    expect(secrets.peek(REFERENCE)).toBeUndefined();
  });

  test("is tried again every 60 s while its manager is away", async () => {
    const { secrets, clock, changed } = open();
    secrets.hold([REFERENCE]);
    await secrets.resolve(REFERENCE);
    server.answer = (_request, response) => response.writeHead(500).end();
    clock.advance(302_000);
    await settled(() => server.seen.length === 2);
    // Joins the reading under way.
    await secrets.resolve(REFERENCE);
    store.set("kv/apisix/jack", { "jwt-key": "rotated meanwhile" });
    serveVault(server, store);
    clock.advance(58_000);
    expect(server.seen).toHaveLength(2);
    clock.advance(4000);
    await settled(() => changed.length === 1);
    expect(secrets.peek(REFERENCE)).toBe("rotated meanwhile");
  });

  test("does not stop the others when a listener fails", async () => {
    const { secrets, changed, clock } = open();
    secrets.onChange(() => {
      throw new Error("listener");
    });
    await secrets.resolve(REFERENCE);
    store.clear();
    clock.advance(300_000);
    await failure(secrets.resolve(REFERENCE));
    expect(changed).toEqual([REFERENCE]);
  });
});

test("closing ends requests under way and answers nothing more", async () => {
  server.answer = () => {};
  const { secrets } = open();
  const value = failure(secrets.resolve("$secret://vault/jwt/jack/jwt-key"));
  await settled(() => server.seen.length === 1);
  secrets.close();
  secrets.close();
  expect(await value).toContain("the resolver is closed");
});

test("no token, environment value or secret is ever in an error or a log line", async () => {
  const SECRETS = ["s.VAULT-TOKEN", "hunter2-in-body", "top secret", "env-key", "jwt-vault-key"];
  server.answer = (request, response) =>
    response.writeHead(403).end(`${String(request.headers["x-vault-token"])} hunter2-in-body`);
  const { secrets, logged } = open();
  const texts: string[] = [];
  for (const [i, token] of ["s.VAULT-TOKEN", "$ENV://KEY", "s.VAULT-TOKEN\r\nX: 1", "$ENV://NONE"].entries()) {
    secrets.setConf("vault", `t${i}`, { ...CONF, uri: server.url, token });
    texts.push(await failure(secrets.resolve(`$secret://vault/t${i}/jack/jwt-key`)));
  }
  server.answer = (_request, response) => response.writeHead(200).end("hunter2-in-body");
  texts.push(await failure(secrets.resolve("$secret://vault/t0/other/jwt-key")));
  expect(texts.filter((text) => text.startsWith("resolved"))).toEqual([]);
  for (const secret of SECRETS) expect(texts.join("\n") + JSON.stringify(logged)).not.toContain(secret);
});
