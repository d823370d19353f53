import { describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { answerHeader, bodyText, makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { apiBreaker } from "../../src/plugins/api-breaker.ts";

/** One request whose upstream says `upstream`. @returns the status the caller sees */
async function call(phases: PluginPhases, upstream: number, target = "/api"): Promise<number> {
  const view = makeView({ target });
  const answer = await phases.access?.(view);
  if (!answer) view.upstream.statuses.push(upstream);
  view.response = makeResponse({ status: answer?.status ?? (upstream || 502) });
  phases.log?.(view);
  return view.response.status;
}

async function calls(phases: PluginPhases, ...upstream: number[]): Promise<number[]> {
  const seen: number[] = [];
  for (const status of upstream) seen.push(await call(phases, status));
  return seen;
}

const CONF = {
  break_response_code: 599,
  unhealthy: { http_statuses: [500, 502, 503], failures: 2 },
  healthy: { http_statuses: [200, 206], successes: 2 },
};

describe("api-breaker", () => {
  test("after so many failures the upstream is left alone, for longer each time", async () => {
    const env = makeEnv();
    const phases = env.compile(apiBreaker, CONF);
    expect(await calls(phases, 500, 503, 200, 200)).toEqual([500, 503, 599, 599]);
    env.clock.advance(2001);
    expect(await calls(phases, 500, 500, 200)).toEqual([500, 500, 599]);
    env.clock.advance(2001);
    expect(await calls(phases, 200)).toEqual([599]);
    env.clock.advance(2001);
    expect(await calls(phases, 200)).toEqual([200]);
  });

  test("the pause has a bound", async () => {
    const env = makeEnv();
    const phases = env.compile(apiBreaker, { ...CONF, max_breaker_sec: 3, unhealthy: { failures: 1 } });
    for (let i = 0; i < 8; i++) {
      expect(await calls(phases, 500, 200)).toEqual([500, 599]);
      env.clock.advance(3001);
    }
  });

  test("so many successes make it healthy again", async () => {
    const env = makeEnv();
    const phases = env.compile(apiBreaker, CONF);
    await calls(phases, 500, 500);
    env.clock.advance(2001);
    expect(await calls(phases, 200, 200, 500, 200)).toEqual([200, 200, 500, 200]);
  });

  test("a tried upstream that gave nothing counts by what the gateway answered", async () => {
    expect(await calls(makeEnv().compile(apiBreaker, CONF), 0, 0, 200)).toEqual([502, 502, 599]);
  });

  test("paths are counted apart, other statuses not at all", async () => {
    const phases = makeEnv().compile(apiBreaker, CONF);
    await calls(phases, 500, 404, 500);
    expect(await call(phases, 200, "/other")).toBe(200);
    expect(await call(phases, 200)).toBe(599);
  });

  test("body and headers are sent while it is open", async () => {
    const conf = {
      ...CONF,
      unhealthy: { failures: 1 },
      break_response_body: '{"m":"$uri"}',
      break_response_headers: [
        { key: "Content-Type", value: "application/json" },
        { key: "X-U", value: "$uri" },
      ],
    };
    const phases = makeEnv().compile(apiBreaker, conf);
    await call(phases, 500);
    const answer = await phases.access?.(makeView({ target: "/api" }));
    expect([bodyText(answer), answerHeader(answer, "content-type"), answerHeader(answer, "x-u")]).toEqual([
      '{"m":"$uri"}',
      "application/json",
      "/api",
    ]);
  });

  test("of a header that a response has only once the last value is sent", async () => {
    const conf = {
      ...CONF,
      unhealthy: { failures: 1 },
      break_response_body: "{}",
      break_response_headers: [
        { key: "Content-Type", value: "application/json" },
        { key: "content-type", value: "application/json+v1" },
        { key: "X-Why", value: "a" },
        { key: "X-Why", value: "b" },
      ],
    };
    const phases = makeEnv().compile(apiBreaker, conf);
    await call(phases, 500);
    const lines = (await phases.access?.(makeView({ target: "/api" })))?.headers;
    expect(lines).toEqual(["content-type", "application/json+v1", "X-Why", "a", "X-Why", "b"]);
  });

  test("state outlives a new configuration of the same content", async () => {
    const env = makeEnv();
    const before = env.compile(apiBreaker, CONF);
    await calls(before, 500, 500);
    const after = env.compile(apiBreaker, CONF);
    before.close?.();
    expect(await call(after, 200)).toBe(599);
    after.close?.();
    expect(env.heldStates).toBe(0);
  });

  test.each([
    { conf: {}, want: 'property "break_response_code" is required' },
    { conf: { break_response_code: 100 }, want: "expected 100 to be at least 200" },
    { conf: { ...CONF, max_breaker_sec: 1 }, want: "expected 1 to be at least 3" },
    { conf: { ...CONF, healthy: { http_statuses: [500] } }, want: "expected 500 to be at most 499" },
    {
      conf: { ...CONF, break_response_headers: [{ key: "a" }] },
      want: 'property "break_response_headers" validation failed: failed to validate item 1: property "value" is required',
    },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => makeEnv().compile(apiBreaker, conf)).toThrow(want);
  });
});
