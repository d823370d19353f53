/** Dry runs ask the secret managers that a record needs, and say which of them cannot be read; plain writes ask nobody. */
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { openSecretProbe } from "../../src/secret/secret-probe.ts";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { freePort } from "../support/ports.ts";
import { openSecretServer, type SecretServer } from "../support/secret-server.ts";

let world: AdminWorld;
let vault: SecretServer;
let silent: Server;

beforeAll(async () => {
  const environment = { VAULT_TOKEN: "token-of-the-environment" };
  world = await openAdminWorld({
    askSecrets: openSecretProbe({ environment, denied: ["169.254.0.0/16"], withinMs: 300, clock: systemClock }),
  });
  vault = await openSecretServer();
  vault.answer = ({ url, headers }, response) => {
    const isKnown = headers["x-vault-token"] === "token-of-the-environment";
    response.statusCode = !isKnown ? 403 : url === "/v1/kv/jack" ? 200 : 404;
    response.end(JSON.stringify(response.statusCode === 200 ? { data: { key: "the-value" } } : { errors: [] }));
  };
  silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as { port: number };
  const managers = {
    good: { uri: vault.url, token: "$ENV://VAULT_TOKEN" },
    wrong: { uri: vault.url, token: "token-that-is-wrong" },
    off: { uri: `http://127.0.0.1:${await freePort()}`, token: "token-of-the-record" },
    silent: { uri: `http://127.0.0.1:${port}`, token: "token-of-the-record" },
    denied: { uri: "http://169.254.169.254", token: "token-of-the-record" },
  };
  for (const [id, conf] of Object.entries(managers)) {
    expect((await world.call("PUT", `/secrets/vault/${id}`, { body: { ...conf, prefix: "kv" } })).status).toBe(201);
  }
  expect(vault.seen).toEqual([]);
});
afterAll(async () => {
  silent.close();
  await vault.close();
  await world.close();
});

const unreadable = async (path: string, body: object): Promise<string[]> => {
  const answer = await world.call("PUT", `${path}?dry_run=1`, { body });
  expect(answer.status, answer.text).toBe(200);
  expect(answer.text).not.toMatch(/token-|the-value/);
  const warnings = answer.body.warnings as { code: string; message: string }[];
  return warnings.filter(({ code }) => code === "secret_unreadable").map(({ message }) => message);
};
const jack = (key: string): object => ({ username: "jack", plugins: { "key-auth": { key } } });

describe("a reference", () => {
  test("that can be read is nothing to say", async () => {
    expect(await unreadable("/consumers", jack("$secret://vault/good/jack/key"))).toEqual([]);
  });

  test.each([
    ["good/nobody/key", /status 404\): every gateway node needs it$/],
    ["good/jack/other", /no such field: other/],
    ["wrong/jack/key", /status 403/],
    ["off/jack/key", /ECONNREFUSED/],
    ["silent/jack/key", /no answer within 300 ms/],
    ["denied/jack/key", /address 169\.254\.169\.254 is not allowed/],
  ])("%s", async (path, why) => {
    const found = await unreadable("/consumers", jack(`$secret://vault/${path}`));
    expect(found).toEqual([expect.stringMatching(why)]);
    expect(found[0]).toMatch(/^\$secret:\/\/vault\/\S+ cannot be read by this admin node/);
  });

  test("is not asked for by a plain write", async () => {
    const before = vault.seen.length;
    const answer = await world.call("PUT", "/consumers", { body: jack("$secret://vault/good/jack/key") });
    expect([answer.status, vault.seen.length]).toEqual([201, before]);
  });
});

describe("the record of a manager", () => {
  test.each([
    ["good", []],
    ["off", [expect.stringMatching(/^the secret manager vault\/new cannot be read .*ECONNREFUSED/)]],
    ["silent", [expect.stringMatching(/no answer within 300 ms/)]],
    ["wrong", [expect.stringMatching(/status 403/)]],
  ])("as %s", async (id, messages) => {
    const { uri, token, prefix } = (await world.call("GET", `/secrets/vault/${id}`)).body.value;
    expect(await unreadable("/secrets/vault/new", { uri, token, prefix })).toEqual(messages);
  });
});

test("however many references there are, few are asked for", async () => {
  const before = vault.seen.length;
  const set = Object.fromEntries(
    Array.from({ length: 50 }, (_, at) => [`m${at}`, `$secret://vault/good/nobody${at}/key`]),
  );
  const body = { uri: "/a", plugins: { "proxy-rewrite": { headers: { set } } } };
  expect(await unreadable("/routes/many", body)).toHaveLength(8);
  expect(vault.seen.length - before).toBe(8);
});
