import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { RequestView } from "../../src/plugin/request-view.ts";
import { makeResponse, makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { loadBodyVariables, needsBody } from "../../src/plugin/variables/body-variables.ts";
import { compileVariable } from "../../src/plugin/variables/variables.ts";

const FORM_TYPE = "application/x-www-form-urlencoded";
const REQUEST: ViewInput = {
  method: "POST",
  target: "/a%20b?v=1&v=2&flag&empty=&q=a+b%26c",
  headers: {
    Host: "Foo.com:9080",
    "X-Team": ["red", "blue"],
    X_Under: "yes",
    "User-Agent": "curl/8",
    Cookie: "A=1; a=2; name=x=y",
    "Content-Type": "text/plain",
  },
  connection: { localPort: 9443, scheme: "https", sni: "foo.com" },
  route: { id: "7", name: "main", serviceId: "s1" },
};

describe("request variables", () => {
  test.each([
    { name: "host", want: "foo.com" },
    { name: "http_host", want: "Foo.com:9080" },
    { name: "uri", want: "/a b" },
    { name: "request_uri", want: "/a b?v=1&v=2&flag&empty=&q=a+b%26c" },
    { name: "real_request_uri", want: "/a%20b?v=1&v=2&flag&empty=&q=a+b%26c" },
    { name: "args", want: "v=1&v=2&flag&empty=&q=a+b%26c" },
    { name: "query_string", want: "v=1&v=2&flag&empty=&q=a+b%26c" },
    { name: "is_args", want: "?" },
    { name: "request_method", want: "POST" },
    { name: "remote_addr", want: "203.0.113.7" },
    { name: "remote_port", want: "40000" },
    { name: "server_addr", want: "127.0.0.1" },
    { name: "server_port", want: "9443" },
    { name: "scheme", want: "https" },
    { name: "ssl_server_name", want: "foo.com" },
    { name: "arg_v", want: "1" },
    { name: "arg_flag", want: true },
    { name: "arg_empty", want: "" },
    { name: "arg_q", want: "a b&c" },
    { name: "arg_V", want: undefined },
    { name: "http_x_team", want: "red, blue" },
    { name: "http_X-Team", want: "red, blue" },
    { name: "http_x_under", want: "yes" },
    { name: "http_user_agent", want: "curl/8" },
    { name: "http_x_none", want: undefined },
    { name: "cookie_A", want: "1" },
    { name: "cookie_a", want: "2" },
    { name: "cookie_name", want: "x=y" },
    { name: "cookie_none", want: undefined },
    { name: "route_id", want: "7" },
    { name: "route_name", want: "main" },
    { name: "service_id", want: "s1" },
    { name: "service_name", want: undefined },
    { name: "consumer_name", want: undefined },
    { name: "balancer_ip", want: undefined },
    { name: "status", want: undefined },
    { name: "no_such_variable", want: undefined },
    { name: "constructor", want: undefined },
  ])("$name is $want", ({ name, want }) => {
    expect(compileVariable(name)(makeView(REQUEST))).toBe(want);
  });

  test("what is known only later is read when it is asked for", () => {
    const view = makeView();
    view.consumer = { username: "jack", groupId: "g1", customId: undefined, labels: {} };
    view.uriParams = new Map([["id", "4 2"]]);
    view.response = makeResponse({ status: 503, headers: { "X-Made": "here" } });
    view.upstream.address = "::1";
    view.upstream.port = 80;
    view.upstream.statuses.push(0, 200);
    view.clientAddress = "10.0.0.1";
    const read = (name: string): unknown => compileVariable(name)(view);
    expect([read("consumer_name"), read("consumer_group_id"), read("uri_param_id")]).toEqual(["jack", "g1", "4 2"]);
    expect([read("status"), read("sent_http_x_made"), read("upstream_status")]).toEqual(["503", "here", "-, 200"]);
    expect([read("upstream_addr"), read("balancer_ip"), read("balancer_port")]).toEqual(["[::1]:80", "::1", 80]);
    expect(read("remote_addr")).toBe("10.0.0.1");
  });

  test("times are seconds of the clock that was given", () => {
    const clock = new FakeClock(1_700_000_000_123);
    const view = makeView({ startedMs: clock.monotonicMs() });
    clock.advance(1500);
    expect(compileVariable("request_time", clock)(view)).toBe("1.500");
    expect(compileVariable("msec", clock)(view)).toBe("1700000001.623");
    expect(compileVariable("time_iso8601", clock)(view)).toBe("2023-11-14T22:13:21+00:00");
  });

  test("a request keeps its id, and a plugin's id is taken over", () => {
    const view = makeView();
    const read = compileVariable("request_id");
    expect(read(view)).toMatch(/^[0-9a-f]{32}$/);
    expect(read(view)).toBe(read(view));
    view.setNote("request_id", "mine");
    expect(read(view)).toBe("mine");
  });
});

describe("body variables", () => {
  const FORM = { "Content-Type": "application/x-www-form-urlencoded; charset=utf-8" };
  const JSON_TYPE = { "Content-Type": "application/json" };
  const QUERY =
    "query Find($id: ID = 3) @live { owner(id: $id) { id } alias: repo, ...more @skip(if: true) ... on X { y } }";
  test.each([
    { name: "post_arg_a", headers: FORM, body: "a=x%20y&a=2&b", want: "x y" },
    { name: "post_arg_b", headers: FORM, body: "a=1&b", want: true },
    { name: "post_arg_a", headers: JSON_TYPE, body: '{"a":1}', want: undefined },
    { name: "post_arg.a.b", headers: JSON_TYPE, body: '{"a":{"b":5}}', want: 5 },
    { name: "post_arg.a[1].c", headers: JSON_TYPE, body: '{"a":[0,{"c":"deep"}]}', want: ["deep"] },
    { name: "post_arg.a[*].c[*].d", headers: JSON_TYPE, body: '{"a":[{"c":[{"d":"x"},{"d":2}]},{}]}', want: ["x", 2] },
    { name: "post_arg.a[*].c", headers: JSON_TYPE, body: '{"a":[]}', want: undefined },
    { name: "post_arg.a", headers: JSON_TYPE, body: '{"a":["x",1,null,{}]}', want: ["x", 1] },
    { name: "post_arg.a", headers: JSON_TYPE, body: '{"a":{"b":1}}', want: undefined },
    { name: "post_arg.a", headers: {}, body: '{"a":"x"}', want: undefined },
    { name: "post_arg.a[", headers: JSON_TYPE, body: '{"a":["x"]}', want: undefined },
    { name: "post_arg.a", headers: JSON_TYPE, body: "not json", want: undefined },
    { name: "post_arg.__proto__", headers: JSON_TYPE, body: "{}", want: undefined },
    {
      name: "post_arg.f",
      headers: { "Content-Type": "multipart/form-data; boundary=XX" },
      body: '--XX\r\nContent-Disposition: form-data; name="f"\r\n\r\nvalue\r\n--XX--\r\n',
      want: "value",
    },
    {
      name: "post_arg.f",
      headers: { "Content-Type": "multipart/form-data; boundary=XX" },
      body: '--XX\nContent-Disposition: form-data; name="f"\n\nvalue\n--XX--',
      want: "value",
    },
    { name: "graphql_operation", headers: {}, body: QUERY, want: "query" },
    { name: "graphql_name", headers: {}, body: QUERY, want: "Find" },
    { name: "graphql_root_fields", headers: {}, body: QUERY, want: ["owner", "repo"] },
    {
      name: "graphql_root_fields",
      headers: JSON_TYPE,
      body: '{"query":"{ a b: c(x: \\"}\\") { d } }"}',
      want: ["a", "c"],
    },
    { name: "graphql_name", headers: {}, body: "mutation { x }", want: "" },
    { name: "graphql_name", headers: {}, body: "{ unclosed", want: undefined },
  ])("$name of $body is $want", async ({ name, headers, body, want }) => {
    const view = makeView({ method: "POST", headers, body });
    const read = compileVariable(name);
    expect(needsBody(name)).toBe(true);
    expect(read(view)).toBeUndefined();
    await loadBodyVariables(view);
    expect(read(view)).toEqual(want);
    expect(loadBodyVariables(view)).toBeUndefined();
  });

  test.each<{ says: string; headers: readonly string[]; body: string; target?: string; accepted?: boolean }>([
    { says: "one reading", headers: ["Content-Type", FORM_TYPE], body: "a=1&b=2", accepted: true },
    { says: "a repeated argument", headers: ["Content-Type", FORM_TYPE], body: "a=1&%61=2" },
    { says: "two types", headers: ["Content-Type", FORM_TYPE, "Content-Type", "application/json"], body: "a=1" },
    { says: "an encoding", headers: ["Content-Type", FORM_TYPE, "Content-Encoding", "gzip"], body: "a=1" },
    { says: "a repeated member", headers: ["Content-Type", "application/json"], body: '{"a":1,"\\u0061":2}' },
    { says: "no JSON", headers: ["Content-Type", "application/json"], body: "{" },
    {
      says: "two queries",
      headers: ["Content-Type", "application/json"],
      body: '{"query":"{a}"}',
      target: "/?query={b}",
    },
    { says: "more than is read", headers: ["Content-Type", FORM_TYPE], body: `a=${"x".repeat(2_000_000)}` },
  ])("in strict a body with $says: $accepted", async ({ headers, body, target = "/", accepted = false }) => {
    const made = makeView({ method: "POST", target, headers, body });
    const view = new RequestView({ ...made.head, strict: true });
    const loading = Promise.resolve(loadBodyVariables(view)).then(
      () => true,
      () => false,
    );
    expect(await loading).toBe(accepted);
    expect(compileVariable("post_arg_a")(view)).toBe(accepted ? "1" : undefined);
    await loadBodyVariables(made);
  });

  test("a body that is too large has no variables and is not read", () => {
    const view = makeView({ method: "POST", headers: FORM, body: `a=${"x".repeat(2_000_000)}` });
    expect(loadBodyVariables(view)).toBeUndefined();
    expect(compileVariable("post_arg_a")(view)).toBeUndefined();
  });
});
