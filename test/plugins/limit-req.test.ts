import { describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { bodyText, makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { limitReq } from "../../src/plugins/limit-req.ts";

async function ask(phases: PluginPhases, headers: Record<string, string> = {}): Promise<number> {
  return (await phases.access?.(makeView({ headers })))?.status ?? 200;
}

describe("limit-req", () => {
  test("above rate and burst requests are refused, and later let through again", async () => {
    const env = makeEnv();
    const phases = env.compile(limitReq, { rate: 2, burst: 1, key: "remote_addr", nodelay: true });
    expect([await ask(phases), await ask(phases), await ask(phases)]).toEqual([200, 200, 503]);
    env.clock.advance(500);
    expect([await ask(phases), await ask(phases)]).toEqual([200, 503]);
    env.clock.advance(60_000);
    expect(await ask(phases)).toBe(200);
  });

  test("between rate and burst they wait their turn", async () => {
    const env = makeEnv();
    const phases = env.compile(limitReq, { rate: 2, burst: 5, key: "remote_addr" });
    await ask(phases);
    const done: number[] = [];
    const waiting = [1, 2].map((n) => ask(phases).then(() => done.push(n)));
    env.clock.advance(499);
    await Promise.resolve();
    expect(done).toEqual([]);
    env.clock.advance(1);
    await waiting[0];
    expect(done).toEqual([1]);
    env.clock.advance(500);
    await waiting[1];
    expect(done).toEqual([1, 2]);
  });

  test("keys are counted apart, an absent one is the address", async () => {
    const phases = makeEnv().compile(limitReq, { rate: 1, burst: 0, key: "$http_u", key_type: "var_combination" });
    expect([await ask(phases, { u: "a" }), await ask(phases, { u: "b" }), await ask(phases, { u: "a" })]).toEqual([
      200, 200, 503,
    ]);
    expect([await ask(phases), await ask(phases)]).toEqual([200, 503]);
  });

  test("code and text can be set", async () => {
    const conf = { rate: 1, burst: 0, key: "remote_addr", rejected_code: 429, rejected_msg: "slow" };
    const phases = makeEnv().compile(limitReq, conf);
    await ask(phases);
    const answer = await phases.access?.(makeView());
    expect([answer?.status, bodyText(answer)]).toEqual([429, '{"error_msg":"slow"}\n']);
  });

  test.each([
    { conf: {}, want: 'property "rate" is required' },
    {
      conf: { rate: 0, burst: 0, key: "remote_addr" },
      want: 'property "rate" validation failed: expected 0 to be greater than 0',
    },
    { conf: { rate: 1, burst: 0, key: "remote_addr", policy: "redis" }, want: "then clause did not match" },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => makeEnv().compile(limitReq, conf)).toThrow(want);
  });
});
