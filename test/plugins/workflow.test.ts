import { describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { bodyText, makeEnv, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { limitConn } from "../../src/plugins/limit-conn.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { workflow } from "../../src/plugins/workflow.ts";

const count = { count: 1, time_window: 60, rejected_code: 429 };
const open = (): TestEnv => makeEnv({ plugins: [limitCount, limitConn] });
const on = (path: string, ...action: unknown[]) => ({ case: [["uri", "==", path]], actions: [action] });

async function ask(phases: PluginPhases, input: ViewInput = {}): Promise<number> {
  return (await phases.access?.(makeView(input)))?.status ?? 200;
}

describe("workflow", () => {
  test("the first rule whose case holds answers", async () => {
    const phases = open().compile(workflow, {
      rules: [on("/a", "return", { code: 403 }), on("/a", "return", { code: 404 }), on("/b", "return", { code: 410 })],
    });
    const answer = await phases.access?.(makeView({ target: "/a" }));
    expect([answer?.status, bodyText(answer)]).toEqual([403, '{"error_msg":"rejected by workflow"}\n']);
    expect([await ask(phases, { target: "/b" }), await ask(phases, { target: "/c" })]).toEqual([410, 200]);
  });

  test("a rule without a case holds for all, and what is behind it for none", async () => {
    const phases = open().compile(workflow, {
      rules: [{ actions: [["limit-count", count]] }, on("/a", "return", { code: 403 })],
    });
    expect([await ask(phases, { target: "/a" }), await ask(phases, { target: "/a" })]).toEqual([200, 429]);
  });

  test("rules with the same limit count apart", async () => {
    const phases = open().compile(workflow, {
      rules: [on("/a", "limit-count", count), on("/b", "limit-count", count)],
    });
    const asked: number[] = [];
    for (const target of ["/a", "/b", "/a", "/b", "/c", "/c"]) asked.push(await ask(phases, { target }));
    expect(asked).toEqual([200, 200, 429, 429, 200, 200]);
  });

  test("a case may look at the body, and so may a limit's key", async () => {
    const phases = open().compile(workflow, {
      rules: [
        { case: [["post_arg.kind", "==", "big"]], actions: [["limit-count", { ...count, key: "post_arg.who" }]] },
      ],
    });
    const big = (who: string) => ({
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: Buffer.from(JSON.stringify({ kind: "big", who })),
    });
    expect([await ask(phases, big("a")), await ask(phases, big("b")), await ask(phases, big("a"))]).toEqual([
      200, 200, 429,
    ]);
  });

  test("the quota headers are those of the rule, and of no other", async () => {
    const phases = open().compile(workflow, { rules: [on("/a", "limit-count", { ...count, count: 7 })] });
    const headers = async (target: string) => {
      const view = makeView({ target });
      await phases.access?.(view);
      const response = makeResponse();
      phases.headerFilter?.(view, response);
      return response.headers.get("x-ratelimit-limit");
    };
    expect([await headers("/a"), await headers("/b")]).toEqual(["7", undefined]);
  });

  test("limit-conn as an action counts out when the request is over", async () => {
    const conf = { conn: 1, burst: 0, default_conn_delay: 0.1, key: "remote_addr" };
    const phases = open().compile(workflow, { rules: [on("/a", "limit-conn", conf)] });
    const view = makeView({ target: "/a" });
    expect([await phases.access?.(view), await ask(phases, { target: "/a" })]).toEqual([undefined, 503]);
    phases.log?.(view);
    expect(await ask(phases, { target: "/a" })).toBe(200);
    phases.log?.(makeView()); // finished before its access phase
  });

  test("a limit that a rule has run does not run again on the route; another workflow's does", async () => {
    const env = open();
    const rules = { rules: [on("/a", "limit-count", { ...count, count: 100 })] };
    const [first, second] = [
      env.compile(workflow, rules),
      env.compile(workflow, { rules: [on("/a", "limit-count", count)] }),
    ];
    const own = env.compile(limitCount, count);
    const through = async (target: string): Promise<readonly number[]> => {
      const view = makeView({ target });
      const statuses: number[] = [];
      for (const phases of [first, own, second]) statuses.push((await phases.access?.(view))?.status ?? 200);
      return statuses;
    };
    expect(await through("/a")).toEqual([200, 200, 200]);
    expect(await through("/a")).toEqual([200, 200, 429]); // the route's own has counted nobody
    expect(await through("/b")).toEqual([200, 200, 200]);
    expect(await through("/b")).toEqual([200, 429, 200]);
  });

  test("gives back what its limits hold", async () => {
    const env = open();
    const phases = env.compile(workflow, { rules: [on("/a", "limit-count", count)] });
    expect(env.heldStates).toBe(1);
    phases.close?.();
    expect(env.heldStates).toBe(0);
  });

  test.each([
    [{ rules: [{ case: [["uri", "==", "/a"]] }] }, 'failed to validate item 1: property "actions" is required'],
    [{ rules: [{ actions: [[]] }] }, "expect array to have at least 1 items"],
    [{ rules: [{ actions: [] }] }, "rule 1 has no action"],
    [
      { rules: [on("/a", "return", { status: 403 })] },
      `failed to validate the 'return' action: property "code" is required`,
    ],
    [{ rules: [on("/a", "return", { code: "403" })] }, "wrong type: expected integer, got string"],
    [{ rules: [on("/a", "return")] }, `property "code" is required`],
    [{ rules: [on("/a", "return", { code: 101 })] }, "a code below 200 ends no request"],
    [{ rules: [on("/a", "fake", {})] }, "unsupported action: fake"],
    [{ rules: [on("/a", "limit-count", { count: 1 })] }, "failed to validate the 'limit-count' action: "],
    [
      { rules: [{ case: [["uri", "nope", "/a"]], actions: [["return", { code: 403 }]] }] },
      "failed to validate the 'case' expression: ",
    ],
  ])("%j is refused", (conf, text) => {
    expect(() => open().compile(workflow, conf)).toThrow(text);
  });
});
