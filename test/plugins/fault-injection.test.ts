import { describe, expect, test } from "vitest";
import { answerHeader, bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { faultInjection } from "../../src/plugins/fault-injection.ts";

const env = makeEnv();
const run = (conf: object, target = "/") => runPhases(env.compile(faultInjection, conf), makeView({ target }));

describe("fault-injection", () => {
  test("an abort answers with status, body and headers, all templates", async () => {
    const conf = { abort: { http_status: 403, body: "no $arg_a", headers: { "X-Fault": "$uri", "X-N": 1 } } };
    const answer = await run(conf, "/x?a=b");
    expect([answer?.status, bodyText(answer), answerHeader(answer, "x-fault"), answerHeader(answer, "x-n")]).toEqual([
      403,
      "no b",
      "/x",
      "1",
    ]);
  });

  test("a header that would hold a line break is left out", async () => {
    const answer = await run({ abort: { http_status: 403, headers: { "X-A": "$arg_a" } } }, "/?a=1%0d%0aX-B:2");
    expect(answer?.headers).toEqual([]);
  });

  test.each([
    { percentage: 0, hits: false },
    { percentage: 100, hits: true },
  ])("$percentage percent answers: $hits", async ({ percentage, hits }) => {
    expect((await run({ abort: { http_status: 503, percentage } })) !== undefined).toBe(hits);
  });

  const VARS = [
    [["arg_name", "==", "jack"]],
    [
      ["arg_age", ">", 18],
      ["arg_name", "==", "ann"],
    ],
  ];
  test.each([
    { target: "/?name=jack", hits: true },
    { target: "/?name=ann&age=20", hits: true },
    { target: "/?name=ann&age=10", hits: false },
    { target: "/", hits: false },
  ])("of several expressions one must hold: $target $hits", async ({ target, hits }) => {
    expect((await run({ abort: { http_status: 403, vars: VARS } }, target))?.status).toBe(hits ? 403 : undefined);
  });

  test("expressions over the body wait for it", async () => {
    const phases = env.compile(faultInjection, { abort: { http_status: 403, vars: [[["post_arg_a", "==", "1"]]] } });
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    const status = async (body: string) =>
      (await runPhases(phases, makeView({ method: "POST", headers, body })))?.status;
    expect([await status("a=1"), await status("a=2")]).toEqual([403, undefined]);
  });

  test("a delay waits that long, then lets go on or aborts", async () => {
    let done = 0;
    const both = run({ delay: { duration: 0.5 }, abort: { http_status: 500 } }).then((answer) => {
      done++;
      return answer;
    });
    const alone = run({ delay: { duration: 0.5 } });
    await Promise.resolve();
    env.clock.advance(499);
    expect(done).toBe(0);
    env.clock.advance(1);
    expect([(await both)?.status, await alone]).toEqual([500, undefined]);
  });

  test.each([
    { conf: {}, want: "expect object to have at least 1 properties" },
    {
      conf: { abort: { http_status: 100 } },
      want: 'property "abort" validation failed: property "http_status" validation failed: expected 100 to be at least 200',
    },
    {
      conf: { delay: { percentage: 50 } },
      want: 'property "delay" validation failed: property "duration" is required',
    },
    { conf: { abort: { http_status: 403, vars: [[["a", "=", 1]]] } }, want: "invalid operator '='" },
  ])("$conf is refused: $want", async ({ conf, want }) => {
    expect(() => env.compile(faultInjection, conf)).toThrow(want);
  });
});
