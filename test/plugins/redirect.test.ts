// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such texts are what is tested
import { describe, expect, test } from "vitest";
import { answerHeader, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { redirect } from "../../src/plugins/redirect.ts";

async function locate(conf: object, input: ViewInput = {}, httpsPort?: number) {
  const env = makeEnv({ settings: { httpsPort } });
  const answer = await runPhases(env.compile(redirect, conf), makeView(input));
  return answer && [answer.status, answerHeader(answer, "location")];
}

/** Bytes of a header as Node gives them. */
const utf8 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

describe("redirect", () => {
  test.each([
    { conf: { uri: "/new" }, target: "/old", want: [302, "/new"] },
    { conf: { uri: "/new", ret_code: 301 }, target: "/old", want: [301, "/new"] },
    { conf: { uri: "$uri/index.html" }, target: "/rd5/dir", want: [302, "/rd5/dir/index.html"] },
    { conf: { uri: "https://${http_host}$request_uri" }, target: "/a?b=1", want: [302, "https://gateway.test/a?b=1"] },
    { conf: { uri: "/x?a=$arg_a" }, target: "/p?a=b%0d%0aSet-Cookie:%20c", want: [302, "/x?a=b%0D%0ASet-Cookie:%20c"] },
    { conf: { uri: "/x?a=$arg_a" }, target: "/p?a=1%26admin%3D1%23%2B", want: [302, "/x?a=1%26admin%3D1%23%2B"] },
    { conf: { uri: "/x/$arg_a?b=1" }, target: "/p?a=c%3Fadmin%23%25", want: [302, "/x/c%3Fadmin%23%25?b=1"] },
    { conf: { uri: "/x?next=$request_uri&b=1" }, target: "/p?a=1&c", want: [302, "/x?next=/p?a%3D1%26c&b=1"] },
    {
      conf: { uri: "https://$host$request_uri" },
      target: "/a%3Fb?c=1&d",
      want: [302, "https://gateway.test/a%3Fb?c=1&d"],
    },
    { conf: { uri: "$scheme://$host$uri" }, target: "/a%3Fb", want: [302, "http://gateway.test/a%3Fb"] },
    { conf: { uri: "/new$is_args$args" }, target: "/a?c=1&d", want: [302, "/new?c=1&d"] },
    { conf: { uri: "/new?x=1&$args" }, target: "/a?c=1&d", want: [302, "/new?x=1&c=1&d"] },
    {
      conf: { uri: "https://$arg_t.test/$arg_p" },
      target: "/?t=evil.com/&p=a",
      want: [302, "https://evil.com%2F.test/a"],
    },
    { conf: { uri: "https://$arg_t.test/" }, target: "/?t=evil.com%23", want: [302, "https://evil.com%23.test/"] },
    {
      conf: { uri: "https://$arg_t.test/" },
      target: "/?t=u@evil.com:1",
      want: [302, "https://u%40evil.com%3A1.test/"],
    },
    { conf: { uri: "$http_x_forwarded_proto://$host/" }, target: "/", want: [302, "://gateway.test/"] },
    { conf: { uri: "/a#$arg_f" }, target: "/?f=x%26y", want: [302, "/a#x%26y"] },
    { conf: { uri: "/n#f", append_query_string: true }, target: "/?a=1|2", want: [302, "/n?a=1%7C2#f"] },
    { conf: { uri: "$arg_to" }, target: "/?to=https://sso.test/?a%3Db", want: [302, "https://sso.test/?a=b"] },
    { conf: { uri: "\\$uri/foo$uri" }, target: "/hello", want: [302, "\\$uri/foo/hello"] },
    { conf: { uri: "/$arg_a" }, target: "/?a=/evil.com", want: [302, "/evil.com"] },
    { conf: { uri: "/$arg_a" }, target: "/?a=%5cevil.com", want: [302, "/%5Cevil.com"] },
    { conf: { uri: "//cdn.com$uri" }, target: "/a", want: [302, "//cdn.com/a"] },
    { conf: { uri: "/\u00e9" }, target: "/", want: [302, "/%C3%A9"] },
    { conf: { uri: "$uri", encode_uri: true }, target: "/a%20b%23c", want: [302, "/a%20b%23c"] },
    { conf: { uri: "$uri?x=$arg_x", encode_uri: true }, target: "/a%25?x=1", want: [302, "/a%25?x=1"] },
    { conf: { uri: "/n", append_query_string: true }, target: "/?a=1", want: [302, "/n?a=1"] },
    { conf: { uri: "/n?x", append_query_string: true }, target: "/?a=1", want: [302, "/n?x&a=1"] },
    { conf: { uri: "/n", append_query_string: true }, target: "/", want: [302, "/n"] },
    {
      conf: { regex_uri: ["^/test/(.*)", "http://other.com/$1"] },
      target: "/test/a/b",
      want: [302, "http://other.com/a/b"],
    },
    { conf: { regex_uri: ["^/t/(.*)", "/$1"] }, target: "/t/a%3Fb%23c%25", want: [302, "/a%3Fb%23c%25"] },
    { conf: { regex_uri: ["^/t/(.*)", "/x?y=$1&z"] }, target: "/t/a%26b", want: [302, "/x?y=a%26b&z"] },
    { conf: { regex_uri: ["^/t", "/x?y="] }, target: "/t/a%26b", want: [302, "/x?y=/a%26b"] },
    { conf: { regex_uri: ["^/t/(.*)", "//cdn.test/$1"] }, target: "/t//x", want: [302, "//cdn.test//x"] },
    {
      conf: { regex_uri: ["^/t/(.*?)/(.*)", "https://$1.test/$2"] },
      target: "/t/a@b/c",
      want: [302, "https://a%40b.test/c"],
    },
    { conf: { regex_uri: ["^/no", "/x"] }, target: "/test", want: undefined },
    { conf: { http_to_https: false }, target: "/test", want: undefined },
  ])("$conf sends $target to $want", async ({ conf, target, want }) => {
    expect(await locate(conf, { target })).toEqual(want);
  });

  test("headers give the bytes they came with, escaped once", async () => {
    const headers = { "X-A": utf8("\u00e9\u20ac/?"), Cookie: `c=${utf8("\u00e9&")}` };
    const conf = { uri: "/x/$http_x_a?b=$cookie_c" };
    expect(await locate(conf, { headers })).toEqual([302, "/x/%C3%A9%E2%82%AC/%3F?b=%C3%A9%26"]);
  });

  test.each([
    { says: "GET is 301", input: { target: "/a%20b?c" }, port: undefined, want: [301, "https://gateway.test/a%20b?c"] },
    { says: "HEAD is 301", input: { method: "HEAD" }, port: 443, want: [301, "https://gateway.test/"] },
    { says: "POST is 308", input: { method: "POST" }, port: 9443, want: [308, "https://gateway.test:9443/"] },
    {
      says: "the port of Host is dropped",
      input: { headers: { Host: "a.com:80" } },
      port: 443,
      want: [301, "https://a.com/"],
    },
    { says: "https goes on", input: { connection: { scheme: "https" as const } }, port: 443, want: undefined },
    {
      says: "https before us goes on",
      input: { headers: { "X-Forwarded-Proto": "https" } },
      port: 443,
      want: undefined,
    },
  ])("to https: $says", async ({ input, port, want }) => {
    expect(await locate({ http_to_https: true }, input, port)).toEqual(want);
  });

  test.each([
    { conf: {}, want: "value should match only one schema, but matches none" },
    { conf: { uri: "/a", http_to_https: true }, want: "value should match only one schema" },
    {
      conf: { http_to_https: true, append_query_string: true },
      want: "only one of `http_to_https` and `append_query_string` can be configured.",
    },
    { conf: { regex_uri: ["(", "x"] }, want: "invalid regex_uri ((, x), err:" },
    { conf: { uri: "/a", ret_code: 100 }, want: "expected 100 to be at least 200" },
  ])("$conf is refused", async ({ conf, want }) => {
    await expect(locate(conf)).rejects.toThrow(want);
  });
});
