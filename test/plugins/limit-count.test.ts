import { describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { bodyText, makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";

async function call(phases: PluginPhases, input: ViewInput = {}) {
  const view = makeView(input);
  const answer = await phases.access?.(view);
  const response = makeResponse();
  phases.headerFilter?.(view, response);
  const shown = (name: string): string | undefined => response.headers.get(name);
  return {
    answer,
    status: answer?.status ?? 200,
    quota: ["limit", "remaining", "reset"].map((word) => shown(`x-ratelimit-${word}`)),
    response,
  };
}

async function statuses(phases: PluginPhases, inputs: readonly ViewInput[]): Promise<number[]> {
  const seen: number[] = [];
  for (const input of inputs) seen.push((await call(phases, input)).status);
  return seen;
}

const from = (...headers: Record<string, string>[]): ViewInput[] => headers.map((one) => ({ headers: one }));

describe("limit-count, fixed window", () => {
  test("so many are let through, the rest is refused until the window ends", async () => {
    const env = makeEnv();
    const phases = env.compile(limitCount, { count: 2, time_window: 60, rejected_code: 429 });
    expect((await call(phases)).quota).toEqual(["2", "1", "60"]);
    env.clock.advance(1500);
    expect((await call(phases)).quota).toEqual(["2", "0", "58.5"]);
    const refused = await call(phases);
    expect([refused.status, refused.quota, refused.answer?.body]).toEqual([429, ["2", "0", "58.5"], undefined]);
    env.clock.advance(58_499);
    expect((await call(phases)).status).toBe(429);
    env.clock.advance(1);
    expect((await call(phases)).quota).toEqual(["2", "1", "60"]);
  });

  test("a text can be sent with the refusal", async () => {
    const phases = makeEnv().compile(limitCount, { count: 1, time_window: 60, rejected_msg: "slow down" });
    await call(phases);
    const { answer, status } = await call(phases);
    expect([status, bodyText(answer)]).toEqual([503, '{"error_msg":"slow down"}\n']);
  });

  test.each([
    { says: "each address alone", conf: {}, inputs: [{}, {}], want: [200, 429] },
    {
      says: "each header value alone, none is the address",
      conf: { key: "http_x_user" },
      inputs: from({ "X-User": "a" }, { "X-User": "a" }, { "X-User": "b" }, {}, {}),
      want: [200, 429, 200, 200, 429],
    },
    {
      says: "each combination alone",
      conf: { key: "$http_a $http_b", key_type: "var_combination" },
      inputs: from({ a: "1", b: "2" }, { a: "1", b: "3" }, { a: "1", b: "2" }, { a: "1" }, {}, {}),
      want: [200, 200, 429, 200, 200, 429],
    },
    {
      says: "all together",
      conf: { key: "all", key_type: "constant" },
      inputs: from({ a: "1" }, { a: "2" }),
      want: [200, 429],
    },
  ])("counts $says", async ({ conf, inputs, want }) => {
    const phases = makeEnv().compile(limitCount, { count: 1, time_window: 60, rejected_code: 429, ...conf });
    expect(await statuses(phases, inputs)).toEqual(want);
  });

  test("a key from the body waits for it", async () => {
    const phases = makeEnv().compile(limitCount, {
      count: 1,
      time_window: 60,
      key: "post_arg_user",
      rejected_code: 429,
    });
    const post = (body: string): ViewInput => ({
      method: "POST",
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
      body,
    });
    expect(await statuses(phases, [post("user=a"), post("user=b"), post("user=a")])).toEqual([200, 200, 429]);
  });

  test("headers can be left out, or named in the metadata", async () => {
    const hidden = makeEnv().compile(limitCount, { count: 1, time_window: 60, show_limit_quota_header: false });
    expect((await call(hidden)).response.headers.lines).toEqual([]);
    const metadata = { limit_header: "A", remaining_header: "B", reset_header: "C" };
    const broken = { limit_header: "A:b", remaining_header: "B\r\nC", reset_header: "C" };
    const odd = makeEnv({ metadata: { "limit-count": broken } }).compile(limitCount, { count: 1, time_window: 60 });
    expect((await call(odd)).response.headers.lines).toEqual(["C", "60"]);
    const named = makeEnv({ metadata: { "limit-count": metadata } }).compile(limitCount, { count: 1, time_window: 60 });
    expect((await call(named)).response.headers.lines).toEqual(["A", "1", "B", "0", "C", "60"]);
  });

  test("numbers may come from the request; what is none is a 500", async () => {
    const env = makeEnv();
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a template of ours
    const phases = env.compile(limitCount, { count: "${http_c ?? 1}", time_window: "$arg_w", rejected_code: 429 });
    const inputs = ["/?w=5", "/?w=5", "/?w=0", "/?w=x", "/"].map((target) => ({ target }));
    expect(await statuses(phases, inputs)).toEqual([200, 429, 500, 500, 500]);
    const open = env.compile(limitCount, { count: "$arg_c", time_window: 1, allow_degradation: true });
    expect((await call(open)).status).toBe(200);
  });
});

describe("limit-count, sliding window and rules", () => {
  test("what the window before had counts by its share", async () => {
    const env = makeEnv();
    env.clock.advance(60_000 - env.clock.monotonicMs());
    const conf = { count: 4, time_window: 60, window_type: "sliding", rejected_code: 429 };
    const phases = env.compile(limitCount, conf);
    expect(await statuses(phases, [{}, {}, {}, {}, {}])).toEqual([200, 200, 200, 200, 429]);
    env.clock.advance(90_000); // half of the next window: half of the four still count
    expect(await statuses(phases, [{}, {}, {}])).toEqual([200, 200, 429]);
    expect(Number((await call(phases)).quota[2])).toBeLessThanOrEqual(30);
  });

  test("each rule counts for itself and names its headers", async () => {
    const rules = [
      { count: 1, time_window: 10, key: "$http_user" },
      { count: 2, time_window: 60, key: "$remote_addr", header_prefix: "Ip" },
    ];
    const phases = makeEnv().compile(limitCount, { rules, rejected_code: 429 });
    const first = await call(phases, { headers: { user: "a" } });
    expect(first.response.headers.lines).toEqual([
      ...["X-1-RateLimit-Limit", "1", "X-1-RateLimit-Remaining", "0", "X-1-RateLimit-Reset", "10"],
      ...["X-Ip-RateLimit-Limit", "2", "X-Ip-RateLimit-Remaining", "1", "X-Ip-RateLimit-Reset", "60"],
    ]);
    expect(await statuses(phases, from({ user: "b" }, { user: "b" }, {}))).toEqual([200, 429, 429]);
  });

  test("when no rule applies the request fails, unless it may pass", async () => {
    const rules = [{ count: 1, time_window: 10, key: "$http_user" }];
    const env = makeEnv();
    expect((await call(env.compile(limitCount, { rules }))).status).toBe(500);
    expect((await call(env.compile(limitCount, { rules, allow_degradation: true }))).status).toBe(200);
  });
});

describe("limit-count, who shares a counter", () => {
  const CONF = { count: 1, time_window: 60, rejected_code: 429 };

  test("the same configuration in the same place goes on counting, whatever its members' order", async () => {
    const env = makeEnv();
    const before = env.compile(limitCount, CONF);
    await call(before);
    const after = env.compile(limitCount, { rejected_code: 429, time_window: 60, count: 1 });
    before.close?.();
    expect((await call(after)).status).toBe(429);
    after.close?.();
    expect(env.heldStates).toBe(0);
    expect((await call(env.compile(limitCount, CONF))).status).toBe(200);
  });

  test("another configuration counts anew", async () => {
    const env = makeEnv();
    await call(env.compile(limitCount, CONF));
    expect((await call(env.compile(limitCount, { ...CONF, rejected_code: 430 }))).status).toBe(200);
  });

  test("a group counts together over resources", async () => {
    const shared = makeEnv();
    const other = makeEnv({ resource: { kind: "route", id: "r2" } });
    const env = { ...other, states: shared.states };
    const one = shared.compile(limitCount, { ...CONF, group: "g" });
    const two = limitCount.compile({ ...DEFAULTS, ...CONF, group: "g" }, env);
    expect([(await call(one)).status, (await call(two)).status]).toEqual([200, 429]);
  });

  test("a group's configurations must agree", () => {
    const grouped = { ...CONF, group: "g" };
    expect(limitCount.conflict?.(grouped, { ...grouped, count: 2 })).toBe("group conf mismatched");
    expect(limitCount.conflict?.(grouped, { ...grouped, _meta: { priority: 1 } })).toBeUndefined();
    expect(limitCount.conflict?.(grouped, { ...CONF, group: "h", count: 2 })).toBeUndefined();
    expect(limitCount.conflict?.(CONF, { ...CONF, count: 2 })).toBeUndefined();
  });
});

const DEFAULTS = {
  key: "remote_addr",
  key_type: "var",
  window_type: "fixed",
  policy: "local",
  allow_degradation: false,
  show_limit_quota_header: true,
  sync_interval: -1,
};

describe("limit-count, what is refused", () => {
  test.each([
    { conf: {}, want: "value should match only one schema, but matches none" },
    { conf: { count: 1 }, want: "value should match only one schema, but matches none" },
    { conf: { count: 0, time_window: 1 }, want: 'property "count" validation failed: ' },
    {
      conf: { count: 1, time_window: 1, rules: [{ count: 1, time_window: 1, key: "a" }] },
      want: "count/time_window and rules cannot be specified at the same time",
    },
    {
      conf: { group: "g", rules: [{ count: 1, time_window: 1, key: "a" }] },
      want: "group and rules cannot be specified at the same time",
    },
    {
      conf: {
        rules: [
          { count: 1, time_window: 1, key: "a" },
          { count: 2, time_window: 2, key: "a" },
        ],
      },
      want: "duplicate key 'a' in rules",
    },
    { conf: { count: 1, time_window: 1, policy: "redis" }, want: "then clause did not match" },
    {
      conf: { count: 1, time_window: 1, policy: "redis", redis_host: "h1", sync_interval: 0.01 },
      want: "sync_interval should not be smaller than 0.1",
    },
    {
      conf: { count: 1, time_window: 1, policy: "redis", redis_host: "h1", sync_interval: 1 },
      want: "sync_interval should be smaller than time_window",
    },
    { conf: { count: 1, time_window: 1, rejected_code: 100 }, want: "expected 100 to be at least 200" },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => makeEnv().compile(limitCount, conf)).toThrow(want);
  });
});
