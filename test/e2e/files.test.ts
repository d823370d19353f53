// biome-ignore-all lint/suspicious/noTemplateCurlyInString: texts of files hold variables
/**
 * `jotgate validate`, `diff`, `apply` and `dump` as an operator calls them: real commands against a real node.
 */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { readKeyPair } from "../../src/base/jose/key-pair.ts";
import { KINDS } from "../../src/model/kinds.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { freePort } from "../support/ports.ts";
import { ADMIN_KEY, admin, type Node, run, startNode, temporaryFolder, until } from "../support/process.ts";

const PASSPHRASE = "correct horse battery staple";
const KEYRING = "a-keyring-of-thirty-two-characters";
const folder = temporaryFolder("files");
const dataDir = temporaryFolder("files-data");
let node: Node;
let ports: { admin: number; gateway: number; status: number };

const start = () => startNode("start", { dataDir, ports, env: { JOTGATE_KEYRING: KEYRING } });
beforeAll(async () => {
  ports = { admin: await freePort(), gateway: await freePort(), status: await freePort() };
  node = await start();
});
afterAll(async () => void (await node?.stop("SIGKILL")));

async function jotgate(args: readonly string[], env: Record<string, string> = {}) {
  const child = run(process.execPath, ["bin/jotgate.mjs", ...args], {
    env: { JOTGATE_ADMIN_KEY: ADMIN_KEY, JOTGATE_PASSPHRASE: PASSPHRASE, ...env },
  });
  const code = await child.exited;
  return { code, text: child.output() };
}
const to = (command: string, ...args: string[]) => jotgate([command, "--admin", node.admin, ...args]);

function file(name: string, value: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
}

/** The store's records but for keys that servers made themselves. */
async function records(): Promise<readonly { kind: string; id: string; value: object }[]> {
  const answer = await fetch(`${node.admin}/apisix/admin/configs/export`, { headers: { "X-API-KEY": ADMIN_KEY } });
  const lines = (await answer.text()).trim().split("\n");
  return lines.map((line) => JSON.parse(line)).filter(({ end }) => !end);
}

async function deleteAll(): Promise<void> {
  for (let left = await records(), turn = 0; left.length > 0 && turn < 5; left = await records(), turn++) {
    for (const { kind, id } of left) {
      const dir = kind === "credential" ? "consumers" : KINDS[kind as keyof typeof KINDS].dir;
      await admin(node, "DELETE", `/${dir}/${id}?force=true`);
    }
  }
  expect(await records()).toEqual([]);
}

/** A record of each kind that refers to others where it can. */
function everything() {
  const [cert, key] = [CERTIFICATE, PRIVATE_KEY];
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const { kid } = readKeyPair("ES256", pem);
  const plugins = { "limit-count": { count: 9, time_window: 60 } };
  return {
    routes: [
      { id: "r1", uri: "/a", service_id: "s1", plugin_config_id: "pc1", plugins: { "jwt-auth": {} } },
      {
        id: "r2",
        uri: "/b",
        upstream: { nodes: { "127.0.0.1:1": 1 } },
        plugins: { "access-token": { issuers: ["i1"], audiences: ["a"] } },
      },
    ],
    services: [{ id: "s1", upstream_id: "u1" }],
    upstreams: [
      { id: "u1", nodes: { "127.0.0.1:1": 1 }, scheme: "https", tls: { client_cert: cert, client_key: key } },
    ],
    consumers: [
      {
        username: "jack",
        group_id: "g1",
        plugins: { "jwt-auth": { key: "jack", secret: "jack-secret-of-32-characters-long" } },
      },
      { id: "jack/credentials/c1", plugins: { "key-auth": { key: "a-key-of-jack" } } },
      {
        username: "robot",
        plugins: { "oauth2-client": { client_id: "robot", client_secret: "a-secret-of-the-robot-with-enough" } },
      },
    ],
    consumer_groups: [{ id: "g1", plugins }],
    plugin_configs: [
      { id: "pc1", plugins: { "proxy-rewrite": { headers: { set: { Authorization: "Bearer hidden" } } } } },
    ],
    global_rules: [{ id: "gr1", plugins: { "request-id": {} } }],
    plugin_metadata: [{ id: "prometheus" }],
    secrets: [{ id: "vault/v1", uri: "http://127.0.0.1:1", prefix: "kv", token: "a-token-of-vault" }],
    ssls: [{ id: "c1", sni: "localhost", cert, key }],
    protos: [{ id: "p1", content: 'syntax = "proto3";' }],
    stream_routes: [{ id: "st1", server_port: 9100, upstream_id: "u1" }],
    token_issuers: [{ id: "i1", issuer: "https://issuer.example.com", jwks_uri: "https://issuer.example.com/keys" }],
    authorization_servers: [{ id: "as1", issuer: "https://own.example.com", key_rotation: { interval: 0 } }],
    signing_keys: [{ id: `as1/${kid}`, algorithm: "ES256", private_key: pem }],
  };
}

test("a round trip over every kind: apply, dump, delete all, apply, no difference; no secret in plain text", async () => {
  const all = everything();
  const path = file("all.json", all);
  const dirs = Object.values(KINDS)
    .map(({ dir }) => dir)
    .filter((dir) => dir !== "credentials");
  expect(Object.keys(all).sort()).toEqual(dirs.sort());
  expect(await jotgate(["validate", path])).toMatchObject({ code: 0 });
  expect(await to("diff", path)).toMatchObject({ code: 2 });
  const applied = await to("apply", path);
  expect(applied.code, applied.text).toBe(0);
  expect(applied.text).toMatch(/served by 1 of 1 nodes/);
  const again = await to("apply", path);
  expect([again.code, again.text]).toEqual([0, "0 to create, 0 to update, 0 to delete, 18 the same\n"]);

  const [open, sealed] = [join(folder, "open"), join(folder, "sealed")];
  expect((await to("dump", open)).code).toBe(0);
  expect(await to("diff", open)).toMatchObject({ code: 0 });
  expect((await to("dump", "--with-secrets", sealed)).code).toBe(0);
  const texts = [open, sealed]
    .flatMap((one) => readdirSync(one).map((name) => readFileSync(join(one, name), "utf8")))
    .join();
  for (const secret of [
    "PRIVATE KEY",
    "jack-secret",
    "a-key-of-jack",
    "Bearer hidden",
    "a-token-of-vault",
    "robot-with",
  ])
    expect(texts).not.toContain(secret);
  expect(parse(readFileSync(join(open, "ssls.yaml"), "utf8")).ssls[0].key).toBe("********");

  const before = await records();
  await deleteAll();
  const restored = await to("apply", sealed);
  expect(restored.code, restored.text).toBe(0);
  expect(await to("diff", sealed)).toMatchObject({ code: 0 });
  const plain = (list: typeof before) =>
    list
      .map(({ kind, id, value }) => [kind, id, { ...value, create_time: 0, update_time: 0 }])
      .filter(([kind]) => kind !== "signing_key" && kind !== "upstream");
  expect(plain(await records())).toEqual(plain(before));

  const other = await jotgate(["diff", "--admin", node.admin, sealed], { JOTGATE_PASSPHRASE: "another passphrase" });
  expect([other.code, other.text]).toMatchObject([1, expect.stringContaining("cannot be opened: another passphrase")]);
  await deleteAll();
});

test("diff shows members and warnings; labels are stamped, and prune removes only what carries them", async () => {
  await admin(node, "PUT", "/routes/foreign", { uri: "/foreign", upstream: { nodes: { "127.0.0.1:1": 1 } } });
  const upstream = { type: "roundrobin", nodes: { "127.0.0.1:1": 1 } };
  const path = file("team.json", {
    routes: [
      { id: "t1", uri: "/t1", upstream },
      { id: "t2", uri: "/t2", upstream_id: "tu" },
    ],
    upstreams: [{ id: "tu", ...upstream }],
  });
  expect((await to("apply", "--label", "owner=team-a", path)).code).toBe(0);
  file("team.json", { routes: [{ id: "t1", uri: "/t1-new", upstream: { ...upstream, nodes: {} } }] });
  const diff = await to("diff", "--label", "owner=team-a", "--prune", path);
  expect(diff.code).toBe(2);
  expect(diff.text).toContain('~ update routes/t1\n    replace /uri "/t1" → "/t1-new"');
  expect(diff.text).toContain("- delete routes/t2\n");
  expect(diff.text).toContain("- delete upstreams/tu\n");
  expect(diff.text).not.toContain("foreign");
  const applied = await to("apply", "--label", "owner=team-a", "--prune", path);
  expect([applied.code, applied.text]).toMatchObject([0, expect.stringContaining("written: 3 of 3")]);
  expect((await records()).map(({ id }) => id).sort()).toEqual(["foreign", "t1"]);
  await deleteAll();
});

test("what is wrong is said before anything is written; what the Admin API refuses does not hide what was done", async () => {
  const bad = file(
    "bad.yaml",
    "routes:\n  - id: ok\n    uri: /ok\n    upstream: {nodes: {'127.0.0.1:1': 1}}\n  - id: bad\n    uri: 7\n",
  );
  const refused = await to("apply", bad);
  expect([refused.code, refused.text]).toMatchObject([1, expect.stringContaining("bad.yaml line 6: routes[1].uri")]);
  expect(await records()).toEqual([]);
  const partly = file(
    "partly.yaml",
    "routes:\n  - {id: ok, uri: /ok, upstream: {nodes: {'127.0.0.1:1': 1}}}\n  - {id: lost, uri: /l, upstream_id: nowhere}\n",
  );
  const half = await to("apply", partly);
  expect(half.code).toBe(1);
  expect(half.text).toMatch(/create routes\/lost was refused: 400 .*nowhere/);
  expect(half.text).toContain("written and live as nodes take it: 1 of 2");
  for (const [args, wanted] of [
    [["apply", "--prune", partly], "--prune needs --label"],
    [["apply", "--adnim", "x", partly], "there is no option --adnim; did you mean --admin?"],
    [["dump", "--with-secrets", "--admin", node.admin, folder], "--with-secrets needs JOTGATE_PASSPHRASE"],
    [["diff", "--admin", "http://127.0.0.1:1", join(folder, "no.yaml")], "no.yaml line 1: it cannot be read"],
  ] as const) {
    const { code, text } = await jotgate(args, { JOTGATE_PASSPHRASE: "" });
    expect([code, text]).toEqual([1, expect.stringContaining(wanted)]);
  }
  await deleteAll();
});

test("an admin that dies in the middle of an apply: what is live is said, and the same command goes on", async () => {
  mkdirSync(join(folder, "many"), { recursive: true });
  const upstream = { type: "roundrobin", nodes: { "127.0.0.1:1": 1 } };
  const routes = Array.from({ length: 600 }, (_, n) => ({ id: `m${n}`, uri: `/m${n}`, upstream_id: "mu" }));
  const path = file("many/all.json", { routes, upstreams: [{ id: "mu", ...upstream }] });
  const running = to("apply", path);
  await until("some are written", async () => (await records()).length > 100, undefined, 5);
  await node.stop("SIGKILL");
  const { code, text } = await running;
  expect(code, text).toBe(1);
  expect(text).toMatch(/does not answer PUT/);
  expect(text).toMatch(/written and live as nodes take it: \d+ of 601 \(up to revision \d+\)/);
  expect(text).toMatch(/unknown, the answer was lost: routes\/m\d+/);
  node = await start();
  const held = (await records()).length;
  const again = await to("apply", path);
  expect(again.code, again.text).toBe(0);
  expect(again.text).toContain(`${601 - held} to create, 0 to update, 0 to delete, ${held} the same`);
  expect(await to("diff", path)).toMatchObject({ code: 0 });
});
