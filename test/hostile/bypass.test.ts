/**
 * An attacker in front of a real node: ways around policy, false identities, headers that split, tokens of elsewhere.
 * What counts is what the upstream gets to see, read as loosely as upstreams do.
 */
import { createSecretKey } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { answering, cutResponse, OK, openRawUpstream, type RawUpstream, send } from "../gateway/support.ts";
import { makeToken, SECRET } from "../support/jwt.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

const ARGUMENT = "a%0d%0aInjected:%201%0d%0a%0d%0aGET%20/smuggled%20HTTP/1.1%0d%0a";

const NODES = [
  { says: "fast lane", args: ["--fast-lane", "on"], strict: false },
  { says: "general lane", args: ["--fast-lane", "off"], strict: false },
  { says: "general lane, strict", args: ["--fast-lane", "off", "--compat", "strict"], strict: true },
] as const;

describe.each(NODES)("$says", ({ args, strict }) => {
  let upstream: RawUpstream;
  let node: Node;
  let port = 0;

  beforeAll(async () => {
    upstream = await openRawUpstream(answering(OK));
    node = await startNode("start", { args });
    port = Number(new URL(node.gateway).port);
    const target = { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } };
    const jwt = (payload: object): Record<string, unknown> => ({ "jwt-auth": payload });
    const records: Record<string, Record<string, unknown>> = {
      "/consumers/jack": {
        username: "jack",
        plugins: { "jwt-auth": { key: "jack-key", secret: SECRET }, "key-auth": { key: "jack-api-key" } },
      },
      "/consumers/eve": {
        username: "eve",
        plugins: { "jwt-auth": { key: "eve-key", secret: `${SECRET}-eve` }, "key-auth": { key: "eve-api-key" } },
      },
      "/routes/guarded": { uri: "/guarded", plugins: jwt({}) },
      "/routes/by-sub": { uri: "/by-sub", plugins: jwt({ key_claim_name: "sub" }) },
      "/routes/exp": { uri: "/exp", plugins: jwt({ claims_to_verify: ["exp"] }) },
      "/routes/nbf": { uri: "/nbf", plugins: jwt({ claims_to_verify: ["nbf"] }) },
      "/routes/jack-only": {
        uri: "/jack-only",
        plugins: { ...jwt({}), "key-auth": {}, "consumer-restriction": { whitelist: ["jack"] } },
      },
      "/routes/jack-or-eve": {
        uri: "/jack-or-eve",
        plugins: {
          "multi-auth": { auth_plugins: [jwt({}), { "key-auth": {} }] },
          "consumer-restriction": { whitelist: ["jack"] },
        },
      },
      "/routes/blocked": {
        uri: "/files/*",
        plugins: { "uri-blocker": { block_rules: ["^/files/secret"] } },
      },
      "/routes/inside": { uri: "/inside/*", plugins: { "ip-restriction": { whitelist: ["10.0.0.0/8"] } } },
      "/routes/open": { uri: "/*", priority: -1 },
      "/routes/rw": { uri: "/rw/*", plugins: { "proxy-rewrite": { regex_uri: ["^/rw/(.*)", "/pub/$1"] } } },
      "/routes/rw-query": { uri: "/rw-query/*", plugins: { "proxy-rewrite": { uri: "/pub/$arg_p" } } },
      "/routes/rw-both": { uri: "/rw-both/*", plugins: { "proxy-rewrite": { uri: "/pub$uri/$arg_p" } } },
      ...Object.fromEntries(
        Object.entries(TEMPLATES).map(([name, plugins]) => [`/routes/t-${name}`, { uri: `/t/${name}/*`, plugins }]),
      ),
    };
    for (const [path, record] of Object.entries(records)) {
      const whole = path.startsWith("/routes/") ? { ...record, upstream: target } : record;
      const { status, body } = await admin(node, "PUT", path, whole);
      expect([path, status, status === 201 ? "" : body]).toEqual([path, 201, ""]);
    }
    await until("the routes", async () => (await fetch(`${node.gateway}/t/last/x`)).headers.get("x-last") === "yes");
  });

  afterEach(() => upstream.clear());

  afterAll(async () => {
    await node?.stop("SIGKILL");
    await upstream?.close();
  });

  const ask = async (bytes: string): Promise<number> => cutResponse(await send(port, bytes))?.status ?? 0;
  const get = (target: string, lines = ""): string => `GET ${target} HTTP/1.1\r\nHost: h.test\r\n${lines}\r\n`;
  const targetsSeen = (): string[] =>
    [...upstream.all.matchAll(/^[A-Z]+ (\S+) HTTP\/1\.1\r$/gm)].map((m) => m[1] ?? "");

  describe.each([
    { area: "/files/secret", plain: "/files/open" },
    { area: "/inside/", plain: "/outside/open" },
  ])("into $area", ({ area, plain }) => {
    const rest = `${area.slice(1)}x`;
    const [first = "", second = ""] = area.slice(1).split("/");
    test.each([
      area,
      `/${rest}`,
      `//${rest}`,
      `/./${rest}`,
      `/a/../${rest}`,
      `/a/%2e%2e/${rest}`,
      `/a/.%2E/${rest}`,
      `/a/..%2f${rest}`,
      `/a%2f..%2f${rest}`,
      `/%2f${rest}`,
      `/%2e/${rest}`,
      `/${encodeAll(first)}/${second}x`,
      `/${first}%2f${second}x`,
      `/${first}//${second}x`,
      `/${first}/./${encodeAll(second)}x`,
      `/${first}/x/..//${second}x`,
      `/${first}/x/%2e%2e%2f${second}x`,
      `${plain}/../../${rest}`,
      `${plain}/..%2f../${rest}`,
      `/${rest}?a=/../`,
      `/${rest};a=b`,
      `http://h.test/${rest}`,
      `http://h.test//${rest}`,
      `HTTP://h.test/a/../${rest}`,
      `/%252e%252e/${rest}`,
      `/a/%252e%252e%252f${rest}`,
      `/a/..;/${rest}`,
      `/a\\..\\${rest}`,
      `/a/..\\${rest}`,
      `/a%5c..%5c${rest}`,
      `/a/%c0%ae%c0%ae/${rest}`,
      `/a/．．/${rest}`,
      `/a/..%5c${rest}`,
      `/a/..%5C..%5c${rest}`,
      `/a%5c..%5c..%5c${rest}`,
      `/a/..%255c${rest}`,
      `/a/%2e%2e%5c${rest}`,
      `/a/%25252e%25252e/${rest}`,
      `/a/..%252f${rest}`,
      `/a/..%253b/${rest}`,
      `/a/..;x=1/${rest}`,
      `/a/.;/..;/${rest}`,
      `/;/${rest}`,
      `/;a=b/${rest}`,
      `/${first};/${second}x`,
      `/${first};a=b/${second}x`,
      `/${first}/;a=b/${second}x`,
      `/${first}%3ba=b/${second}x`,
      `/${first}%253b/${second}x`,
      `/${first}%5c${second}x`,
      `/${first}\\${second}x`,
      `/${first}%252f${second}x`,
      `/${first}%255c${second}x`,
      `/%25${first.charCodeAt(0).toString(16)}${first.slice(1)}/${second}x`,
      `/${first}/%25${(second || "x").charCodeAt(0).toString(16)}${second.slice(1)}x`,
      `/${first}%00/${second}x`,
      `/${first}\t/${second}x`,
    ])("no way by %s", async (target) => {
      const status = await ask(get(target));
      for (const seen of targetsSeen()) {
        expect(seen).toMatch(LEGAL);
        for (const [reader, path] of readings(seen))
          expect(path.startsWith(area), `${target} is ${path} for ${reader}, answered ${status}`).toBe(false);
      }
      expect([200, 400, 403, 404]).toContain(status);
    });
  });

  describe("by what plugins put into a path", () => {
    test.each(["/rw/$", "/rw-query/x?p=$", "/rw-both/$?p=$"])("no way out of /pub/ by %s", async (form) => {
      for (const way of WAYS_OUT) {
        upstream.clear();
        const status = await ask(get(form.replaceAll("$", way)));
        expect([200, 400], way).toContain(status);
        for (const seen of targetsSeen()) {
          expect(seen).toMatch(LEGAL);
          // What the router itself read as a path outside came by the route of that path.
          if (!seen.startsWith("/pub/")) continue;
          for (const [reader, path] of readings(seen))
            expect(path.startsWith("/pub/"), `${way} is ${path} for ${reader}`).toBe(true);
        }
      }
    });

    test.skipIf(strict)("ways that lead nowhere else go on", async () => {
      for (const [way, sent] of [
        ["/rw/a;v=1/b", "/pub/a;v=1/b"],
        ["/rw/50%25off", "/pub/50%25off"],
        ["/rw/feature%252Fx", "/pub/feature%252Fx"],
        ["/rw/a...b/..c", "/pub/a...b/..c"],
        ["/rw/a%7Cb%5Cc", "/pub/a%7Cb%5Cc"],
        ["/rw-query/x?p=a/b.c", "/pub/a/b.c?p=a/b.c"],
      ] as const) {
        upstream.clear();
        expect(await ask(get(way)), way).toBe(200);
        expect(targetsSeen()).toEqual([sent]);
      }
    });
  });

  test("what RFC 3986 allows in no path and no query leaves escaped, with or without plugins", async () => {
    for (const area of ["/open/", "/rw/", "/t/rewrite-unsafe/", "/t/rewrite/"]) {
      for (const sign of strict ? '"<>^`{|}' : '"<>\\^`{|}') {
        upstream.clear();
        expect(await ask(get(`${area}a${sign}b?q=${sign}&in=${sign}[]`)), `${area} ${sign}`).toBe(200);
        const code = encodeURIComponent(sign);
        expect(targetsSeen()).toHaveLength(1);
        expect(targetsSeen()[0]).toMatch(LEGAL);
        expect(targetsSeen()[0]).toContain(`q=${code}&in=${code}[]`);
      }
    }
  });

  const NAMES = [
    ...[
      "X-Consumer-Username",
      "x-consumer-username",
      "X_Consumer_Username",
      "X-CONSUMER_USERNAME",
      "X.Consumer.Username",
    ],
    ...["X-Consumer-Custom-ID", "X_CONSUMER_CUSTOM_ID", "X-Credential-Identifier", "X_Credential~Identifier"],
    ...[
      "X-Consumer-Groups",
      "X-Consumer-Anything",
      "X|Consumer|Username",
      "Content_Length",
      "X_Real_IP",
      "X_Forwarded_For",
    ],
  ];

  describe.each(["/open", "/guarded"])("who I am not, to %s", (path) => {
    const token = makeToken({ payload: { key: "jack-key" } });
    const authorization = `Authorization: ${token}\r\n`;

    test.each(NAMES)("%s is not mine to say", async (name) => {
      const twice = `${name}: mallory\r\n${name}: mallory\r\n`;
      for (const lines of [
        `${twice}${authorization}`,
        `${authorization}${twice}Connection: close\r\n`,
        `${authorization}Connection: ${name}, close\r\n${twice}`,
        `${authorization}Connection: X-Consumer-Username, X-Credential-Identifier\r\n${twice}`,
      ])
        expect(await ask(get(path, lines))).toBe(200);
      expect(await ask(`GET ${path} HTTP/1.0\r\nHost: h\r\n${authorization}${twice}\r\n`)).toBe(200);
      const chunked = `POST ${path} HTTP/1.1\r\nHost: h\r\n${authorization}Transfer-Encoding: chunked\r\n${twice}`;
      expect(await ask(`${chunked}Trailer: ${name}\r\n\r\n1\r\na\r\n0\r\n${twice}\r\n`)).toBe(200);
      expect(upstream.all.match(/^GET |^POST /gm)).toHaveLength(6);
      expect(upstream.all).not.toContain("mallory");
      const names = upstream.all.match(/^X-Consumer-Username: jack\r$/gm) ?? [];
      expect(names).toHaveLength(path === "/guarded" ? 6 : 0);
    });
  });

  describe("what a client says in places that templates read", () => {
    test.each(Object.keys(TEMPLATES))("splits neither response nor request: %s", async (name) => {
      const header = "X-In: a\tb\xe9\r\nX-Request-Id: a b;c\r\nOrigin: http://x.test\r\nCookie: in=a b\r\n";
      for (const target of [
        `/t/${name}/${ARGUMENT}`,
        `/t/${name}/x?in=${ARGUMENT}`,
        `/t/${name}/%5c%5cevil.test?in=//evil.test`,
      ])
        for (const bytes of [get(target, header), `HEAD ${target} HTTP/1.1\r\nHost: h\r\n${header}\r\n`]) {
          const text = await send(port, bytes, (t) => t.includes("\r\n\r\n"));
          const head = text.slice(0, text.indexOf("\r\n\r\n"));
          expect(head).toMatch(/^HTTP\/1\.1 \d{3} /);
          expect(head).not.toMatch(/\n(?:Injected|GET )/);
          expect(head).not.toMatch(/[^\r]\n|\r[^\n]/);
          expect(text.split("HTTP/1.1 ")).toHaveLength(2);
        }
      expect(upstream.all).not.toMatch(/^(?:Injected:|GET \/smuggled)/m);
      for (const head of upstream.all.split("\r\n\r\n")) expect(head).not.toMatch(/[^\r]\n|\r[^\n]/);
    });
  });

  describe("a token that was good somewhere", () => {
    const ok = async (path: string, text: string): Promise<number> => ask(get(path, `Authorization: ${text}\r\n`));

    test("is no token where its claim does not name the key, however it is written", async () => {
      const token = makeToken({ payload: { sub: "jack-key" } });
      expect(await ok("/by-sub", token)).toBe(200);
      for (const text of [token, `sub ${token}`, `Bearer sub ${token}`, `bearer sub ${token}`, `Bearer  ${token}`])
        expect(await ok("/guarded", text)).toBe(401);
      expect(await ask(get(`/guarded?jwt=sub%20${token}`))).toBe(401);
      expect(await ask(get("/guarded", `Cookie: jwt=sub ${token}\r\n`))).toBe(401);
    });

    test("names the caller by the claim of the route, also when both names are in it", async () => {
      const token = makeToken({ payload: { sub: "jack-key", key: "eve-key" } });
      expect(await ok("/by-sub", token)).toBe(200);
      expect(await ok("/guarded", token)).toBe(401); // signed by jack, not by eve
      expect(await ok("/by-sub", token)).toBe(200);
    });

    test("is checked for the claims that each route wants", async () => {
      const expired = makeToken({ payload: { key: "jack-key", exp: 1, nbf: 1 } });
      expect(await ok("/nbf", expired)).toBe(200);
      expect(await ok("/exp", expired)).toBe(401);
      expect(await ok("/guarded", expired)).toBe(401);
      const bare = makeToken({ payload: { key: "jack-key" } });
      expect(await ok("/guarded", bare)).toBe(200);
      expect([await ok("/exp", bare), await ok("/nbf", bare)]).toEqual([401, 401]);
    });
  });

  describe("two credentials in one request", () => {
    const jack = makeToken({ payload: { key: "jack-key" } });
    const eve = makeToken({ payload: { key: "eve-key", n: 1 }, key: evesKey() });

    test.each([
      { path: "/jack-only", token: jack, key: "jack-api-key", status: 200 },
      { path: "/jack-only", token: jack, key: "eve-api-key", status: 403 },
      { path: "/jack-only", token: eve, key: "eve-api-key", status: 403 },
      { path: "/jack-only", token: jack, key: "wrong", status: 401 },
      { path: "/jack-only", token: "wrong", key: "jack-api-key", status: 401 },
      { path: "/jack-or-eve", token: eve, key: "jack-api-key", status: 403 },
      { path: "/jack-or-eve", token: jack, key: "eve-api-key", status: 200 },
      { path: "/jack-or-eve", token: "wrong", key: "eve-api-key", status: 403 },
      { path: "/jack-or-eve", token: "wrong", key: "wrong", status: 401 },
    ])("$path with $key: $status", async ({ path, token, key, status }) => {
      expect(await ask(get(path, `Authorization: ${token}\r\napikey: ${key}\r\n`))).toBe(status);
      const named = /^X-Consumer-Username: (\w+)\r$/m.exec(upstream.all)?.[1];
      expect(named).toBe(status === 200 ? "jack" : undefined);
    });
  });
});

/** Every place of a plugin that takes a variable and writes it into a head. */
const TEMPLATES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  response: {
    "response-rewrite": {
      headers: { set: { "X-A": "$arg_in", "X-B": "$http_x_in", "X-C": "$uri", "X-D": "$cookie_in" } },
    },
  },
  "response-add": { "response-rewrite": { headers: { add: ["X-A: $arg_in", "X-B: $request_uri"] }, body: "$arg_in" } },
  redirect: { redirect: { uri: "$arg_in", ret_code: 302 } },
  "redirect-path": { redirect: { uri: "/go$uri", ret_code: 301, append_query_string: true } },
  "redirect-regex": { redirect: { regex_uri: ["^/t/redirect-regex/(.*)$", "/$1"] } },
  "redirect-encoded": { redirect: { uri: "$uri?x=$arg_in", encode_uri: true } },
  "redirect-https": { redirect: { http_to_https: true } },
  rewrite: { "proxy-rewrite": { uri: "/p/$arg_in", headers: { set: { "X-A": "$arg_in", "X-B": "$http_x_in" } } } },
  "rewrite-regex": {
    "proxy-rewrite": { regex_uri: ["^/t/rewrite-regex/(.*)$", "/r/$1"], headers: { add: { "X-A": "$1" } } },
  },
  "rewrite-unsafe": { "proxy-rewrite": { use_real_request_uri_unsafe: true } },
  fault: {
    "fault-injection": { abort: { http_status: 200, body: "$arg_in", headers: { "X-A": "$arg_in", "X-B": "$uri" } } },
  },
  id: { "request-id": { include_in_response: true } },
  cors: { cors: { allow_origins: "**", allow_headers: "**", allow_methods: "**", allow_credential: true } },
  last: { "response-rewrite": { headers: { set: { "X-Last": "yes" } } } },
};

/** Ways out of the folder that a route or a template names, as a client would spell them in a path or an argument. */
const WAYS_OUT = [
  "../x",
  "..%2fx",
  "%2e%2e%2fx",
  "..%5cx",
  "..\\x",
  "a%5c..%5c..%5cx",
  "a/..%5c..%5cx",
  "%252e%252e/x",
  "%252e%252e%252fx",
  "..%252fx",
  "..%255cx",
  "%25252e%25252e%25252fx",
  "..;/x",
  "..;a=b/x",
  "..%3b/x",
  "..%253b/x",
  "a/.;/..;/..;/x",
  "..",
  "..%5c",
  "..;",
  ".%2e",
  "a/../../x",
  "?/../../x",
  "%3f/../../x",
  "%23/../../x",
];

/** What RFC 3986 allows in a path and a query, and square brackets. */
const LEGAL = /^\/[\w\-.~!$&'()*+,;=:@%/?[\]]*$/;

function evesKey(): ReturnType<typeof createSecretKey> {
  return createSecretKey(Buffer.from(`${SECRET}-eve`));
}

function encodeAll(text: string): string {
  return [...Buffer.from(text)].map((byte) => `%${byte.toString(16)}`).join("");
}

/** Decodes what escapes there are, once. */
function decode(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Path of a URL, as Node applications read it: no repair before, only what a request line would make of a doubled slash. */
function urlPath(text: string): string {
  return new URL(text.replace(/^\/{2,}/, "/"), "http://upstream").pathname.replace(/\/{2,}/g, "/");
}

const cutParameters = (text: string): string => text.replace(/;[^/]*/g, "");
/** So that a decoded text is not decoded once more where it is read as a URL, and keeps what would end its path. */
const kept = (text: string): string => text.replaceAll("%", "%25").replaceAll("?", "%3F").replaceAll("#", "%23");

/** Models of upstreams. Each gets what was sent, untouched. */
const READERS: readonly (readonly [string, (path: string) => string])[] = [
  ["one that reads it as it stands", (path) => path],
  ["one that reads a URL", (path) => new URL(path, "http://upstream").pathname],
  ["one that decodes it", decode],
  ["one that decodes it and reads a URL", (path) => urlPath(kept(decode(path)))],
  ["one that decodes twice", (path) => urlPath(kept(decode(decode(path))))],
  ["one that reads a URL and decodes it twice", (path) => decode(decode(new URL(path, "http://upstream").pathname))],
  ["one that takes parameters off", (path) => urlPath(cutParameters(path))],
  ["one that takes parameters off what it decoded", (path) => urlPath(kept(cutParameters(decode(path))))],
  ["one that takes parameters off what it decoded twice", (path) => urlPath(kept(cutParameters(decode(decode(path)))))],
];

/** How upstreams may read a target's path. */
function readings(target: string): [string, string][] {
  const path = target.split("?")[0] ?? "";
  return READERS.map(([name, read]) => [name, read(path)]);
}
