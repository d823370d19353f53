// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such texts are what is tested
import { describe, expect, test } from "vitest";
import { makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { proxyRewrite } from "../../src/plugins/proxy-rewrite/proxy-rewrite.ts";

const env = makeEnv();

async function rewrite(conf: object, target = "/", headers: Record<string, string> = {}) {
  const view = makeView({ target, headers });
  const answer = await runPhases(env.compile(proxyRewrite, conf), view);
  const url = view.query === undefined ? view.upstreamPath : `${view.upstreamPath}?${view.query}`;
  return { view, answer, url };
}

describe("proxy-rewrite of the target", () => {
  test.each([
    { conf: { uri: "/new" }, target: "/old", want: "/new" },
    { conf: { uri: "/new" }, target: "/old?a=1", want: "/new?a=1" },
    { conf: { uri: "/new?x=1" }, target: "/old?a=1", want: "/new?x=1&a=1" },
    { conf: { uri: "/new?x=1" }, target: "/old", want: "/new?x=1" },
    { conf: { uri: "/new?x=1" }, target: "/old?", want: "/new?x=1" },
    { conf: { uri: "/t/$arg_a$uri" }, target: "/p?a=1", want: "/t/1/p?a=1" },
    { conf: { uri: "/t/$arg_a" }, target: "/p?a=b%3Fc", want: "/t/b%3Fc?a=b%3Fc" },
    { conf: { uri: "/t/$arg_a" }, target: "/p?a=b%0d%0ac%20d", want: "/t/b%0D%0Ac%20d?a=b%0d%0ac%20d" },
    { conf: { uri: "/t?q=$arg_a" }, target: "/p?a=b%0d%0ac%20d", want: "/t?q=b%0D%0Ac%20d&a=b%0d%0ac%20d" },
    {
      conf: { uri: "/t?q=$arg_a" },
      target: "/p?a=1%26admin%3D1%3B%23x%2By",
      want: "/t?q=1%26admin%3D1%3B%23x%2By&a=1%26admin%3D1%3B%23x%2By",
    },
    { conf: { uri: "/t?$arg_a=1" }, target: "/p?a=b%3Dc", want: "/t?b%3Dc=1&a=b%3Dc" },
    { conf: { uri: "/t?$args" }, target: "/p?a=1", want: "/t?a=1&a=1" },
    { conf: { uri: "/t?x=1&$query_string" }, target: "/p?a=1&b", want: "/t?x=1&a=1&b&a=1&b" },
    { conf: { uri: "/t?next=$request_uri" }, target: "/p%20q?a=1&b=2", want: "/t?next=/p%20q?a%3D1%26b%3D2&a=1&b=2" },
    { conf: { uri: "/t?all=$args" }, target: "/p?a=1&b", want: "/t?all=a%3D1%26b&a=1&b" },
    { conf: { uri: "/t/$http_x_x" }, target: "/p", headers: { "X-X": "a?b#c&d" }, want: "/t/a%3Fb%23c&d" },
    {
      conf: { uri: "/t?x=$http_x_x&y=2" },
      target: "/p",
      headers: { "X-X": "a?b#c&d%" },
      want: "/t?x=a?b%23c%26d%25&y=2",
    },
    { conf: { uri: "/t/${arg_none ?? zero}?k" }, target: "/p", want: "/t/zero?k" },
    { conf: { uri: "/a%20b" }, target: "/p", want: "/a%2520b" },
    { conf: { regex_uri: ["^/(\\w+)/(.*)", "/$2/$1"] }, target: "/a/b/c?d", want: "/b/c/a?d" },
    { conf: { regex_uri: ["^/(\\w+)", "/x?y=$1"] }, target: "/a?z", want: "/x?y=a&z" },
    { conf: { regex_uri: ["^/(.*)$", "/x?y=$1&z=1"] }, target: "/a%26b%3D%3Fc", want: "/x?y=a%26b%3D?c&z=1" },
    { conf: { regex_uri: ["^/(\\w+)", "/x?y=$1"] }, target: "/a%26b%3Fc?z", want: "/x?y=a%26b?c&z" },
    { conf: { regex_uri: ["^/a(.*)", "/b$1?k=$1"] }, target: "/a%3Fc", want: "/b%3Fc?k=?c" },
    { conf: { regex_uri: ["^/a(.*)", "/$$1$1"] }, target: "/a/b", want: "/$1/b" },
    { conf: { use_real_request_uri_unsafe: true, uri: "/n/$arg_a" }, target: "/a?a=b%3Fc", want: "/n/b%3Fc?a=b%3Fc" },
    { conf: { regex_uri: ["^/no", "/x", "^/a", "/y"] }, target: "/a/b", want: "/y/b" },
    { conf: { regex_uri: ["^/no", "/x"] }, target: "/a%20b", want: "/a%20b" },
    { conf: { regex_uri: ["^/a(.*)", "/b$1"] }, target: "/a%3Fc=d", want: "/b%3Fc=d" },
    { conf: { uri: "/new", regex_uri: ["^/a", "/b"] }, target: "/a", want: "/new" },
    { conf: { use_real_request_uri_unsafe: true }, target: "/a%2Fb?c", want: "/a%2Fb?c" },
    { conf: { use_real_request_uri_unsafe: true, uri: "/n?x" }, target: "/a?c", want: "/n?x&c" },
    { conf: { use_real_request_uri_unsafe: true, regex_uri: ["^/a", "/b"] }, target: "/a%2Fb?c", want: "/b%2Fb?c" },
    { conf: { method: "POST" }, target: "/a%20b?c", want: "/a%20b?c" },
  ])("$conf makes $target $want", async ({ conf, target, want, ...sent }) => {
    expect((await rewrite(conf, target, "headers" in sent ? sent.headers : {})).url).toBe(want);
  });

  test.each(["..%2Fsecret", "a/../../b", ".", "%2e%2e", "..%5Csecret", "..;/x", "%252e%252e/x", "%25252e%25252e/"])(
    "a dot segment in a variable (%s) is a 400",
    async (value) => {
      const { answer } = await rewrite({ uri: "/files/$arg_name" }, `/p?name=${value}`);
      expect(answer?.status).toBe(400);
    },
  );
});

describe("proxy-rewrite of host, method and headers", () => {
  test("host and method go upstream, policy keeps what was asked", async () => {
    const { view } = await rewrite({ host: "inner.example.com:8080", method: "PUT" });
    expect([view.upstreamHost, view.method]).toEqual(["inner.example.com:8080", "PUT"]);
    expect([view.host, view.head.method]).toEqual(["gateway.test", "GET"]);
  });

  test.each<{
    says: string;
    headers: object;
    target?: string;
    sent?: Record<string, string>;
    name: string;
    want: string[];
  }>([
    { says: "the flat form sets", headers: { "X-Api": "v1" }, sent: { "x-api": "v0" }, name: "x-api", want: ["v1"] },
    { says: "an empty text removes", headers: { "X-E": "" }, sent: { "X-E": "y" }, name: "x-e", want: [] },
    { says: "numbers are texts", headers: { "X-N": 5 }, name: "x-n", want: ["5"] },
    {
      says: "set replaces",
      headers: { set: { "X-A": "$remote_addr" } },
      sent: { "X-A": "0" },
      name: "x-a",
      want: ["203.0.113.7"],
    },
    {
      says: "set takes several values",
      headers: { set: { "X-A": ["1", 2] } },
      sent: { "X-A": "0" },
      name: "x-a",
      want: ["1", "2"],
    },
    { says: "add adds", headers: { add: { "X-A": "1" } }, sent: { "X-A": "0" }, name: "x-a", want: ["0", "1"] },
    { says: "add takes several values", headers: { add: { "X-A": ["1", "2"] } }, name: "x-a", want: ["1", "2"] },
    { says: "remove removes", headers: { remove: ["X-A"] }, sent: { "x-a": "0" }, name: "x-a", want: [] },
    {
      says: "remove leaves an empty line where the gateway would write one",
      headers: { remove: ["X-Forwarded-Host"] },
      name: "x-forwarded-host",
      want: [""],
    },
    { says: "remove comes last", headers: { remove: ["X-A"], set: { "X-A": "1" } }, name: "x-a", want: [] },
    { says: "captures are values", headers: { set: { "X-C": "$1-${2}" } }, target: "/u/7", name: "x-c", want: ["u-7"] },
    {
      says: "a capture's own $ means nothing",
      headers: { set: { "X-C": "$2" } },
      target: "/u/$uri",
      name: "x-c",
      want: ["$uri"],
    },
    {
      says: "a value that would break the header is not sent, nor is the client's",
      headers: { set: { "X-A": "$arg_v" } },
      target: "/u/1?v=a%0d%0ab",
      sent: { "X-A": "spoofed" },
      name: "x-a",
      want: [],
    },
    {
      says: "framing stays the gateway's",
      headers: { set: { "Content-Length": "5" } },
      name: "content-length",
      want: [],
    },
  ])("$says", async ({ headers, target = "/", sent = {}, name, want }) => {
    const { view } = await rewrite({ headers, regex_uri: ["^/(\\w+)/(.*)", "/"] }, target, sent);
    expect(view.headers.getAll(name)).toEqual(want);
  });

  test("what a variable brings into Host cannot end the name", async () => {
    const { view } = await rewrite({ headers: { set: { Host: "h.$arg_a.com" } } }, "/?a=b/c%40evil.com:80");
    expect(view.upstreamHost).toBe("h.b%2Fc%40evil.com%3A80.com");
  });

  test("setting Host sets what the upstream is asked", async () => {
    const { view } = await rewrite({ headers: { set: { Host: "h.$arg_a.com" } } }, "/?a=b");
    expect(view.upstreamHost).toBe("h.b.com");
  });

  test.each([
    { conf: {}, want: "expect object to have at least 1 properties" },
    { conf: { uri: "x" }, want: 'property "uri" validation failed: failed to match pattern "^\\\\/.*" with "x"' },
    {
      conf: { regex_uri: ["^/a"] },
      want: 'property "regex_uri" validation failed: expect array to have at least 2 items',
    },
    { conf: { regex_uri: ["a", "b", "c"] }, want: "The length of regex_uri should be an even number" },
    { conf: { regex_uri: ["^/(a", "/b"] }, want: "invalid regex_uri(^/(a, /b): " },
    { conf: { regex_uri: ["^/a", "/$`1"] }, want: 'invalid capturing variable name found in "/$`1"' },
    { conf: { method: "FETCH" }, want: 'property "method" validation failed: matches none of the enum values' },
    { conf: { host: "a b" }, want: 'property "host" validation failed' },
    { conf: { headers: { "X A": "1" } }, want: "invalid field character in header" },
    { conf: { headers: { "X-A": "1\n2" } }, want: "invalid value character in header" },
    { conf: { headers: { "X-A": true } }, want: 'property "headers" validation failed' },
    { conf: { headers: {} }, want: 'property "headers" validation failed' },
  ])("$conf is refused", ({ conf, want }) => {
    expect(() => env.compile(proxyRewrite, conf)).toThrow(want);
  });
});
