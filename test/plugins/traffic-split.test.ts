import { describe, expect, test } from "vitest";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { trafficSplit } from "../../src/plugins/traffic-split.ts";

const env = makeEnv();
const BLUE = { name: "blue", nodes: { "127.0.0.1:1981": 1 } };

/** Which upstream each of these requests goes to: a name, an id, or "route". */
async function targets(conf: object, inputs: readonly ViewInput[]): Promise<string[]> {
  const phases = env.compile(trafficSplit, conf);
  const seen: string[] = [];
  for (const input of inputs) {
    const view = makeView(input);
    await phases.access?.(view);
    const choice = view.upstreamChoice as { upstream?: { name: string }; upstreamId?: string } | undefined;
    seen.push(choice?.upstream?.name ?? choice?.upstreamId ?? "route");
  }
  return seen;
}

const times = (count: number, input: ViewInput = {}): ViewInput[] => Array.from({ length: count }, () => input);

describe("traffic-split", () => {
  test("shares are kept over any few requests", async () => {
    const conf = { rules: [{ weighted_upstreams: [{ upstream: BLUE, weight: 3 }, { weight: 2 }] }] };
    expect(await targets(conf, times(10))).toEqual([
      ...["blue", "route", "blue", "route", "blue"],
      ...["blue", "route", "blue", "route", "blue"],
    ]);
  });

  test("an upstream may be named by its id, as text or number", async () => {
    const conf = { rules: [{ weighted_upstreams: [{ upstream_id: 7 }, { upstream_id: "green" }] }] };
    expect(await targets(conf, times(2))).toEqual(["7", "green"]);
  });

  test("a share of nothing gets nothing", async () => {
    const conf = { rules: [{ weighted_upstreams: [{ upstream: BLUE, weight: 0 }, { weight: 1 }] }] };
    expect(await targets(conf, times(3))).toEqual(["route", "route", "route"]);
    const none = { rules: [{ weighted_upstreams: [{ upstream: BLUE, weight: 0 }] }] };
    expect(await targets(none, times(1))).toEqual(["route"]);
  });

  const RULES = {
    rules: [
      {
        match: [{ vars: [["arg_v", "==", "1"]] }, { vars: [["http_x", "==", "y"]] }],
        weighted_upstreams: [{ upstream_id: 1 }],
      },
      {
        match: [
          {
            vars: [
              ["arg_v", "==", "2"],
              ["arg_w", "==", "3"],
            ],
          },
        ],
        weighted_upstreams: [{ upstream_id: 2 }],
      },
    ],
  };
  test.each<{ input: ViewInput; want: string }>([
    { input: { target: "/?v=1" }, want: "1" },
    { input: { headers: { x: "y" } }, want: "1" },
    { input: { target: "/?v=2&w=3" }, want: "2" },
    { input: { target: "/?v=2" }, want: "route" },
    { input: {}, want: "route" },
  ])("the first rule that matches is taken: $input to $want", async ({ input, want }) => {
    expect(await targets(RULES, [input])).toEqual([want]);
  });

  test("a rule may look into the body", async () => {
    const match = [{ vars: [["post_arg_a", "==", "1"]] }];
    const conf = { rules: [{ match, weighted_upstreams: [{ upstream_id: 1 }] }] };
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    const post = (body: string): ViewInput => ({ method: "POST", headers, body });
    expect(await targets(conf, [post("a=1"), post("a=2")])).toEqual(["1", "route"]);
  });

  test.each([
    { conf: { rules: [{ weighted_upstreams: [] }] }, want: "expect array to have at least 1 items" },
    { conf: { rules: [{ weighted_upstreams: [{ weight: -1 }] }] }, want: "expected -1 to be at least 0" },
    {
      conf: { rules: [{ match: [{ vars: [["a", "=", 1]] }] }] },
      want: "failed to validate the 'vars' expression: invalid operator '='",
    },
    {
      conf: { rules: [{ weighted_upstreams: [{ upstream: { nodes: 1 } }] }] },
      want: 'property "upstream" validation failed',
    },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => env.compile(trafficSplit, conf)).toThrow(want);
  });

  test("nothing configured splits nothing", async () => {
    expect(await targets({}, times(1))).toEqual(["route"]);
  });
});
