import { describe, expect, test } from "vitest";
import { bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { consumerRestriction } from "../../src/plugins/consumer-restriction.ts";
import { ipRestriction } from "../../src/plugins/ip-restriction.ts";
import { refererRestriction } from "../../src/plugins/referer-restriction.ts";
import { uaRestriction } from "../../src/plugins/ua-restriction.ts";
import { uriBlocker } from "../../src/plugins/uri-blocker.ts";

const env = makeEnv();

describe("consumer-restriction", () => {
  const FORBIDDEN = [403, '{"message":"The consumer_name is forbidden."}\n'];
  const jack = { consumer: "jack" };
  test.each<{ says: string; conf: object; who: { consumer?: string; group?: string }; method?: string; want: unknown }>(
    [
      { says: "a whitelisted consumer passes", conf: { whitelist: ["jack"] }, who: jack, want: undefined },
      { says: "another consumer is refused", conf: { whitelist: ["ann"] }, who: jack, want: FORBIDDEN },
      { says: "a blacklisted consumer is refused", conf: { blacklist: ["jack"] }, who: jack, want: FORBIDDEN },
      { says: "others pass a blacklist", conf: { blacklist: ["ann"] }, who: jack, want: undefined },
      {
        says: "no consumer is a 401",
        conf: { whitelist: ["jack"] },
        who: {},
        want: [401, '{"message":"The request is rejected, please check the consumer_name for this request"}\n'],
      },
      {
        says: "a method that is not listed for the user is refused",
        conf: { allowed_by_methods: [{ user: "jack", methods: ["POST"] }] },
        who: jack,
        want: FORBIDDEN,
      },
      {
        says: "a listed method passes",
        conf: { allowed_by_methods: [{ user: "jack", methods: ["POST"] }] },
        who: jack,
        method: "POST",
        want: undefined,
      },
      {
        says: "users that are not listed pass",
        conf: { allowed_by_methods: [{ user: "ann", methods: ["POST"] }] },
        who: jack,
        want: undefined,
      },
      {
        says: "a whitelist hit skips the methods",
        conf: { whitelist: ["jack"], allowed_by_methods: [{ user: "jack", methods: ["POST"] }] },
        who: jack,
        want: undefined,
      },
      {
        says: "code and text can be set",
        conf: { blacklist: ["jack"], rejected_code: 401, rejected_msg: "no" },
        who: jack,
        want: [401, '{"message":"no"}\n'],
      },
      {
        says: "groups are looked at by their id",
        conf: { type: "consumer_group_id", whitelist: ["g1"] },
        who: { consumer: "jack", group: "g1" },
        want: undefined,
      },
      {
        says: "routes are looked at by their id",
        conf: { type: "route_id", blacklist: ["r1"] },
        who: {},
        want: [403, '{"message":"The route_id is forbidden."}\n'],
      },
    ],
  )("$says", async ({ conf, who, method = "GET", want }) => {
    const view = makeView({ method });
    if (who.consumer !== undefined)
      view.consumer = { username: who.consumer, groupId: who.group, customId: undefined, labels: {} };
    const answer = await runPhases(env.compile(consumerRestriction, conf), view);
    expect(answer && [answer.status, bodyText(answer)]).toEqual(want);
  });

  test("a list of some kind is required", () => {
    expect(() => env.compile(consumerRestriction, {})).toThrow("object matches none of the required");
  });
});

describe("ip-restriction", () => {
  const REFUSED = [403, '{"message":"Your IP address is not allowed"}\n'];
  test.each([
    { says: "a whitelisted range passes", conf: { whitelist: ["10.0.0.0/8"] }, ip: "10.9.8.7", want: undefined },
    { says: "others are refused", conf: { whitelist: ["10.0.0.0/8", "::1"] }, ip: "11.0.0.1", want: REFUSED },
    { says: "a blacklisted address is refused", conf: { blacklist: ["::1"] }, ip: "::1", want: REFUSED },
    { says: "others pass a blacklist", conf: { blacklist: ["::1"] }, ip: "127.0.0.1", want: undefined },
    {
      says: "code and text can be set",
      conf: { blacklist: ["1.1.1.1"], message: "no", response_code: 404 },
      ip: "1.1.1.1",
      want: [404, '{"message":"no"}\n'],
    },
  ])("$says", async ({ conf, ip, want }) => {
    const view = makeView();
    view.clientAddress = ip;
    const answer = await runPhases(env.compile(ipRestriction, conf), view);
    expect(answer && [answer.status, bodyText(answer)]).toEqual(want);
  });

  test.each([
    { conf: {}, want: "value should match only one schema, but matches none" },
    { conf: { whitelist: ["1.1.1.1"], blacklist: ["1.1.1.1"] }, want: "matches both schemas 1 and 2" },
    { conf: { whitelist: [] }, want: 'property "whitelist" validation failed: expect array to have at least 1 items' },
    { conf: { whitelist: ["x.y"] }, want: "failed to validate item 1: object matches none of the required" },
    { conf: { whitelist: ["aa:bb::cc:dd::1/64"] }, want: "invalid ip address: aa:bb::cc:dd::1/64" },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => env.compile(ipRestriction, conf)).toThrow(want);
  });
});

const agents = (...values: string[]): ViewInput => ({ headers: { "User-Agent": values } });
const referer = (value: string): ViewInput => ({ headers: { Referer: value } });

describe("ua-restriction, referer-restriction and uri-blocker", () => {
  const UA = '{"message":"Not allowed"}\n';
  const REF = '{"message":"Your referer host is not allowed"}\n';
  test.each<{ says: string; plugin: typeof uaRestriction; conf: object; input: ViewInput; want: string | undefined }>([
    {
      says: "a denied agent",
      plugin: uaRestriction,
      conf: { denylist: ["badbot"] },
      input: agents("x badbot/1"),
      want: UA,
    },
    {
      says: "another agent",
      plugin: uaRestriction,
      conf: { denylist: ["^bad"] },
      input: agents("x bad"),
      want: undefined,
    },
    {
      says: "an allowed agent",
      plugin: uaRestriction,
      conf: { allowlist: ["^curl/\\d"] },
      input: agents(" curl/8"),
      want: undefined,
    },
    {
      says: "an agent not on the list",
      plugin: uaRestriction,
      conf: { allowlist: ["^curl"] },
      input: agents("wget"),
      want: UA,
    },
    {
      says: "one bad agent of two",
      plugin: uaRestriction,
      conf: { denylist: ["bad"] },
      input: agents("good", "bad"),
      want: UA,
    },
    { says: "no agent", plugin: uaRestriction, conf: { denylist: ["bad"] }, input: {}, want: UA },
    {
      says: "no agent, let through",
      plugin: uaRestriction,
      conf: { denylist: ["bad"], bypass_missing: true },
      input: {},
      want: undefined,
    },
    {
      says: "a text of one's own",
      plugin: uaRestriction,
      conf: { denylist: ["b"], message: "m" },
      input: {},
      want: '{"message":"m"}\n',
    },
    {
      says: "a listed referer",
      plugin: refererRestriction,
      conf: { whitelist: ["a.com"] },
      input: referer("http://A.com:80/x?y"),
      want: undefined,
    },
    {
      says: "an ending",
      plugin: refererRestriction,
      conf: { whitelist: ["*.a.com"] },
      input: referer("https://x.y.a.com/"),
      want: undefined,
    },
    {
      says: "not the bare ending",
      plugin: refererRestriction,
      conf: { whitelist: ["*.a.com"] },
      input: referer("https://a.com/"),
      want: REF,
    },
    {
      says: "another referer",
      plugin: refererRestriction,
      conf: { whitelist: ["a.com"] },
      input: referer("http://a.com.evil/"),
      want: REF,
    },
    {
      says: "a user part that looks like the host",
      plugin: refererRestriction,
      conf: { whitelist: ["a.com"] },
      input: referer("http://a.com@evil/"),
      want: REF,
    },
    {
      says: "a refused referer",
      plugin: refererRestriction,
      conf: { blacklist: ["a.com"] },
      input: referer("http://a.com"),
      want: REF,
    },
    {
      says: "a malformed referer",
      plugin: refererRestriction,
      conf: { blacklist: ["a.com"] },
      input: referer("a.com"),
      want: REF,
    },
    {
      says: "no referer, let through",
      plugin: refererRestriction,
      conf: { whitelist: ["a.com"], bypass_missing: true },
      input: {},
      want: undefined,
    },
    {
      says: "a blocked query",
      plugin: uriBlocker,
      conf: { block_rules: ["root.exe"] },
      input: { target: "/a?n=root.exe" },
      want: "",
    },
    {
      says: "a blocked path, encoded",
      plugin: uriBlocker,
      conf: { block_rules: ["^/internal"] },
      input: { target: "/%69nternal" },
      want: "",
    },
    {
      says: "a path that only looks alike",
      plugin: uriBlocker,
      conf: { block_rules: ["^/internal"] },
      input: { target: "/x/internal" },
      want: undefined,
    },
    {
      says: "a rule without case",
      plugin: uriBlocker,
      conf: { block_rules: ["abc"], case_insensitive: true },
      input: { target: "/ABC" },
      want: "",
    },
    {
      says: "a text for blocked",
      plugin: uriBlocker,
      conf: { block_rules: ["abc"], rejected_msg: "no" },
      input: { target: "/abc" },
      want: '{"error_msg":"no"}\n',
    },
  ])("$says is answered $want", async ({ plugin, conf, input, want }) => {
    const answer = await runPhases(env.compile(plugin, conf), makeView(input));
    expect(answer && bodyText(answer)).toBe(want);
    if (answer) expect(answer.status).toBe(403);
  });

  test("the code of uri-blocker can be set, and a rule that is no pattern is refused", async () => {
    const phases = env.compile(uriBlocker, { block_rules: ["a"], rejected_code: 409 });
    expect((await runPhases(phases, makeView({ target: "/a" })))?.status).toBe(409);
    expect(() => env.compile(uriBlocker, { block_rules: ["a", ".+("] })).toThrow(
      'pcre_compile() failed: missing ) in ".+("',
    );
    expect(() => env.compile(uriBlocker, { block_rules: ["[a"] })).toThrow(/invalid regular expression/);
    expect(() => env.compile(uriBlocker, {})).toThrow('property "block_rules" is required');
  });
});
