/** Dry runs say what a record does instead of what was probably meant; a sound record is warned of nothing. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { basicAuth } from "../../src/plugins/basic-auth.ts";
import { PLUGINS } from "../../src/plugins/index.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { multiAuth } from "../../src/plugins/multi-auth.ts";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";

const upstream = { type: "roundrobin", nodes: { "127.0.0.1:80": 1 } };
const own = ["unknown_member", "cors_without_options", "uri_never_matches", "host_never_matches", "certificate"];
const OURS = new Set([
  ...own,
  "key_of_another_algorithm",
  "reference_inside_text",
  "reference_malformed",
  "variable_not_set",
  "without_effect",
  "weak_secret",
]);

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld({ plugins: PLUGINS, isVariableSet: (name) => name === "SET" });
});
afterAll(() => world.close());

async function warningsOf(path: string, body: object, of = world): Promise<readonly string[]> {
  const reply = await of.call("PUT", `${path}?dry_run=1`, { body });
  expect(reply.status, reply.text).toBe(200);
  const warnings = reply.body.warnings as readonly { code: string; key: string; message: string }[];
  expect(warnings.every(({ key }) => key === `/apisix${path}` || !OURS.has(key))).toBe(true);
  return warnings.filter(({ code }) => OURS.has(code)).map(({ code, message }) => `${code}: ${message}`);
}

const route = (more: object) => ({ uri: "/a", upstream, ...more });
const NO_PATTERNS = 'uri knows no patterns but "*" at its end; use vars such as ["uri","~~","^/a/[0-9]+$"]';
const never = (uri: string, why: string) => ({
  path: "/routes/r",
  body: route({ uri }),
  want: `uri_never_matches: uri ${JSON.stringify(uri)} ${why}`,
});

test.each([
  {
    path: "/routes/r",
    body: route({ plugins: { cors: { allow_origin: "https://a.com" } } }),
    want: "unknown_member: plugins.cors has no member allow_origin, which is without effect; did you mean allow_origins?",
  },
  ...["/users/{id}", "/users/[0-9]+", "/a/(b|c)", "/a/\\d"].map((uri) =>
    never(uri, `matches only ${uri.replace(/^\/(?:users|a)\//, "")} itself: ${NO_PATTERNS}`),
  ),
  {
    path: "/consumers/c",
    body: { username: "c", plugins: { "jwt-auth": { key: "k", secrets: "s".repeat(32) } } },
    want: "unknown_member: plugins.jwt-auth has no member secrets, which is without effect; did you mean secret?",
  },
  {
    path: "/global_rules/g",
    body: { plugins: { "proxy-rewrite": { uri: "/b", metod: "GET" } } },
    want: "unknown_member: plugins.proxy-rewrite has no member metod, which is without effect; did you mean method?",
  },
  {
    path: "/routes/r",
    body: route({ methods: ["GET"], plugins: { cors: {} } }),
    want: "cors_without_options: has cors, and its methods leave OPTIONS out: preflight requests of browsers do not reach it",
  },
  never("users", 'matches no request: paths begin with a slash, write "/users"'),
  never("/a%41", 'matches no request: paths are matched after %41 became "A"'),
  never("/a%2Fb", "matches only with router.match_uri_encoded_slash: else %2F becomes a slash first"),
  never("/a?x=1", "matches no request: a query is no part of the path, use vars such as arg_name"),
  never("/a//b", "matches no request: repeated slashes are made one before"),
  never("/a/../b", "matches no request: dot segments are resolved before"),
  never(
    "/users/:id",
    'matches only :id itself: parameters need router.mode radixtree_uri_with_parameter; "*" stands for any rest',
  ),
  {
    path: "/consumers/c",
    body: { username: "c", plugins: { "jwt-auth": { key: "k", public_key: "x", secret: "s".repeat(32) } } },
    want: "key_of_another_algorithm: plugins.jwt-auth has a public_key and no algorithm, so that HS256 with its secret counts: set algorithm, such as RS256",
  },
  ...(["HS256", "HS384", "HS512"] as const).map((algorithm, at) => ({
    path: "/consumers/c",
    body: { username: "c", plugins: { "jwt-auth": { key: "k", algorithm, secret: "s".repeat(31 + 16 * at) } } },
    want: `weak_secret: plugins.jwt-auth: the secret has ${31 + 16 * at} bytes, ${algorithm} needs at least ${32 + 16 * at}`,
  })),
  {
    path: "/consumers/c",
    body: { username: "c", plugins: { "oauth2-client": { client_id: "batch", client_secret: "s".repeat(16) } } },
    want: "weak_secret: plugins.oauth2-client: client_secret has 16 characters, 32 keep guessers out: leave it out and one is made",
  },
  {
    path: "/routes/r",
    body: route({ plugins: { "proxy-rewrite": { headers: { set: { Authorization: "Bearer $env://TOKEN" } } } } }),
    want: "reference_inside_text: plugins.proxy-rewrite.headers.set.Authorization holds a reference that is not its whole text, and is taken as it stands: make the whole member a reference",
  },
  ...["$SECRET://vault/1/a/b", "$secret:/vault/1/a/b", "$env:NAME", " $env://NAME", "$secrets://vault/1/a/b"].map(
    (key) => ({
      path: "/consumers/c",
      body: { username: "c", plugins: { "key-auth": { key } } },
      want: "reference_malformed: plugins.key-auth.key looks like a reference and is none (it begins otherwise), so it is taken as it stands: write $env://NAME or $secret://manager/id/path/key",
    }),
  ),
  ...(
    [
      ["$secret://vault", "no secret manager"],
      ["$secret://vault/1", "no secret conf id"],
      ["$env://", "no environment variable name"],
    ] as const
  ).map(([key, why]) => ({
    path: "/consumers/c",
    body: { username: "c", plugins: { "key-auth": { key } } },
    want: `reference_malformed: plugins.key-auth.key looks like a reference and is none (${why}), so it never has a value: write $env://NAME or $secret://manager/id/path/key`,
  })),
  {
    path: "/consumers/c",
    body: { username: "c", plugins: { "key-auth": { key: "$ENV://NOT_THERE" } } },
    want: "variable_not_set: plugins.key-auth.key refers to the variable NOT_THERE, which is not set for this admin node: every gateway node needs it",
  },
  {
    path: "/upstreams/u",
    body: { ...upstream, scheme: "udp" },
    want: "without_effect: scheme udp is for stream routes, which have no effect: no route can use it",
  },
  {
    path: "/stream_routes/s",
    body: { server_port: 9100, upstream },
    want: "without_effect: stream routes are stored and listed, and have no effect",
  },
])("$want", async ({ path, body, want }) => {
  expect(await warningsOf(path, body)).toEqual([want]);
});

test.each([
  {
    path: "/routes/r",
    body: route({ uri: "/*", host: "*.a.com", methods: ["GET", "OPTIONS"], plugins: { cors: {} } }),
  },
  {
    path: "/routes/r",
    body: route({ plugins: { "proxy-rewrite": { regex_uri: ["^/a", "/b"], headers: { set: { A: "$host" } } } } }),
  },
  {
    path: "/routes/r",
    body: route({ plugins: { "limit-count": { count: 1, time_window: 1, _meta: { priority: 1 } } } }),
  },
  {
    path: "/routes/r",
    body: route({ plugins: { "traffic-split": { rules: [{ weighted_upstreams: [{ upstream, weight: 1 }] }] } } }),
  },
  { path: "/consumers/c", body: { username: "c", plugins: { "key-auth": { key: "$ENV://SET" } } } },
  { path: "/routes/r", body: route({ uri: "/Products(1)/a[1]/*" }) },
])("nothing is said of what is sound: $path $body", async ({ path, body }) => {
  expect(await warningsOf(path, body)).toEqual([]);
});

test("members of plugins inside multi-auth are looked at too", async () => {
  const other = await openAdminWorld({ plugins: [multiAuth, keyAuth, basicAuth] });
  try {
    const auth_plugins = [{ "basic-auth": {} }, { "key-auth": { headers: "x" } }];
    expect(await warningsOf("/routes/r", route({ plugins: { "multi-auth": { auth_plugins } } }), other)).toEqual([
      "unknown_member: plugins.multi-auth.auth_plugins[1].key-auth has no member headers, which is without effect; did you mean header?",
    ]);
  } finally {
    await other.close();
  }
});

test("with router.mode radixtree_uri_with_parameter, parameters match", async () => {
  const other = await openAdminWorld({ routerMode: "radixtree_uri_with_parameter" });
  try {
    expect(await warningsOf("/routes/r", route({ uri: "/users/:id" }), other)).toEqual([]);
  } finally {
    await other.close();
  }
});

test("of weak secrets, once: the write's answer says it too, what is stored or strong is none", async () => {
  await world.call("PUT", "/consumers", { body: { username: "shop" } });
  const path = "/consumers/shop/credentials/weak";
  const client = (more: object) => ({ plugins: { "oauth2-client": { client_id: "weak", ...more } } });
  const written = await world.call("PUT", path, { body: client({ client_secret: "s".repeat(31) }) });
  expect(written.status, written.text).toBe(201);
  expect(written.headers["warning"]).toContain("weak_secret: /apisix/consumers/shop/credentials/weak plugins.oauth2");
  expect(written.headers["warning"]).not.toContain("sss");
  for (const again of [{}, { client_secret: "s".repeat(32) }, { client_secret: "$env://SET" }])
    expect(await warningsOf(path, client(again))).toEqual([]);
  const jack = { username: "jack", plugins: { "jwt-auth": { key: "jack", secret: "c2hvcnQ=", base64_secret: true } } };
  expect(await warningsOf("/consumers/jack", jack)).toHaveLength(1);
});

test("of certificates: names, times and the order of the chain", async () => {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-warn-"));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  try {
    const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl("req", "-x509", ...ec, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=authority");
    openssl(
      "req",
      ...ec,
      "-keyout",
      "a.key",
      "-out",
      "a.csr",
      "-subj",
      "/CN=a.com",
      "-addext",
      "subjectAltName=DNS:a.com,DNS:*.a.com",
    );
    openssl(
      "x509",
      "-req",
      "-in",
      "a.csr",
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-out",
      "a.pem",
      "-days",
      "10",
      "-copy_extensions",
      "copy",
    );
    const [leaf, key, authority] = [read("a.pem"), read("a.key"), read("ca.pem")];
    const ssl = (cert: string, snis: readonly string[]) => ({ cert, key, snis });
    expect(await warningsOf("/ssls/1", ssl(`${leaf}${authority}`, ["a.com", "*.a.com", "x.a.com"]))).toEqual([]);
    expect(await warningsOf("/ssls/1", ssl(leaf, ["a.com", "b.com", "*.b.com"]))).toEqual([
      "certificate: cert does not cover b.com, *.b.com: clients will refuse it for these names",
    ]);
    expect(await warningsOf("/ssls/1", ssl(`${leaf}${authority}${leaf}`, ["a.com"]))).toEqual([
      "certificate: cert has a chain out of order: certificate 3 did not issue certificate 2; write the leaf first",
    ]);
    const { FakeClock } = await import("../../src/base/clock.ts");
    const later = await openAdminWorld({ clock: new FakeClock(Date.now() + 11 * 86_400_000) });
    try {
      expect(await warningsOf("/ssls/1", ssl(leaf, ["a.com"]), later)).toEqual([
        expect.stringMatching(/^certificate: cert expired on /),
      ]);
    } finally {
      await later.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
