import { describe, expect, test } from "vitest";
import type { Admission, Counters } from "../../src/plugin/counters.ts";
import type { CompileEnv, PluginPhases } from "../../src/plugin/plugin.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import { bodyText, makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { limitConn } from "../../src/plugins/limit-conn.ts";

const CONF = { conn: 2, burst: 0, default_conn_delay: 0.1, key: "remote_addr" };

async function enter(phases: PluginPhases, input: ViewInput = {}): Promise<{ view: RequestView; status: number }> {
  const view = makeView(input);
  return { view, status: (await phases.access?.(view))?.status ?? 200 };
}

describe("limit-conn", () => {
  test("so many at once, and each that ends makes room for one", async () => {
    const phases = makeEnv().compile(limitConn, CONF);
    const first = await enter(phases);
    const second = await enter(phases);
    const refused = await enter(phases);
    expect([first.status, second.status, refused.status]).toEqual([200, 200, 503]);
    phases.log?.(refused.view);
    expect((await enter(phases)).status).toBe(503);
    phases.log?.(first.view);
    phases.log?.(first.view); // a second time counts for nothing
    expect([(await enter(phases)).status, (await enter(phases)).status]).toEqual([200, 503]);
  });

  test("the burst waits as long as requests take", async () => {
    const env = makeEnv();
    const phases = env.compile(limitConn, { ...CONF, conn: 1, burst: 1, only_use_default_delay: true });
    await enter(phases);
    let entered = false;
    const waiting = enter(phases).then((result) => {
      entered = true;
      return result;
    });
    env.clock.advance(99);
    await Promise.resolve();
    expect(entered).toBe(false);
    env.clock.advance(1);
    expect((await waiting).status).toBe(200);
  });

  test("keys are counted apart; numbers may be templates", async () => {
    const conf = { ...CONF, conn: "$http_most", key: "http_u" };
    const phases = makeEnv().compile(limitConn, conf);
    const status = async (u: string) => (await enter(phases, { headers: { u, most: "1" } })).status;
    expect([await status("a"), await status("b"), await status("a")]).toEqual([200, 200, 503]);
    expect((await enter(phases)).status).toBe(500);
  });

  test("every rule that applies must let in; what was entered is left again", async () => {
    const rules = [
      { conn: 2, burst: 0, key: "$http_u" },
      { conn: 1, burst: 0, key: "$http_v" },
    ];
    const phases = makeEnv().compile(limitConn, { default_conn_delay: 0.1, rules });
    const both = { headers: { u: "1", v: "1" } };
    const first = await enter(phases, both);
    const second = await enter(phases, both);
    expect([first.status, second.status]).toEqual([200, 503]);
    phases.log?.(second.view); // it had entered the first rule
    expect((await enter(phases, { headers: { u: "1" } })).status).toBe(200);
  });

  test("a request that is over while it waits takes no place after its end", async () => {
    const rules = [
      { conn: 1, burst: 9, key: "$http_u" },
      { conn: 2, burst: 0, key: "$http_v" },
    ];
    const env = makeEnv();
    const phases = env.compile(limitConn, { default_conn_delay: 1, only_use_default_delay: true, rules });
    const both = { headers: { u: "1", v: "1" } };
    const first = await enter(phases, both);
    for (let i = 0; i < 5; i++) {
      const view = makeView(both);
      const waiting = phases.access?.(view); // above the first rule's limit
      phases.log?.(view); // the client went away
      env.clock.advance(10_000);
      await waiting;
    }
    phases.log?.(first.view);
    const after = { headers: { v: "1" } };
    expect([(await enter(phases, after)).status, (await enter(phases, after)).status]).toEqual([200, 200]);
  });

  test("a place that is given after the request's end is left at once", async () => {
    let inside = 0;
    let give: () => void = () => {};
    const enterLate = (): Promise<Admission> =>
      new Promise((ok) => {
        give = () => {
          inside++;
          ok({ count: 1, leave: () => void inside-- });
        };
      });
    const concurrency = () => ({ enter: enterLate, release: () => {} });
    const env: CompileEnv = { ...makeEnv(), counters: { concurrency } as unknown as Counters };
    const phases = limitConn.compile({ ...CONF, key_type: "var", policy: "local", rejected_code: 503 }, env);
    const view = makeView();
    const waiting = phases.access?.(view);
    phases.log?.(view);
    give();
    await waiting;
    expect(inside).toBe(0);
  });

  test("code and text can be set", async () => {
    const phases = makeEnv().compile(limitConn, { ...CONF, conn: 1, rejected_code: 429, rejected_msg: "full" });
    await enter(phases);
    const answer = await phases.access?.(makeView());
    expect([answer?.status, bodyText(answer)]).toEqual([429, '{"error_msg":"full"}\n']);
  });

  test.each([
    {
      conf: { conn: 1, default_conn_delay: 0.1, key: "a" },
      want: "value should match only one schema, but matches none",
    },
    { conf: { ...CONF, conn: 0 }, want: 'property "conn" validation failed' },
    { conf: { ...CONF, policy: "redis" }, want: "then clause did not match" },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => makeEnv().compile(limitConn, conf)).toThrow(want);
  });
});
