import { describe, expect, test } from "vitest";
import { answerHeader, bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { mocking } from "../../src/plugins/mocking.ts";

const env = makeEnv();
const run = (conf: object, target = "/") => runPhases(env.compile(mocking, conf), makeView({ target }));

describe("mocking", () => {
  test("an example is sent with its variables filled", async () => {
    const conf = {
      content_type: "application/json",
      response_status: 201,
      response_example: '{"a":1,"who":"$arg_who"}',
      response_headers: { "X-Mock": "m", "X-N": 2 },
    };
    const answer = await run(conf, "/?who=ann");
    expect([answer?.status, bodyText(answer)]).toEqual([201, '{"a":1,"who":"ann"}']);
    expect(answerHeader(answer, "content-type")).toBe("application/json");
    expect(answerHeader(answer, "x-mock-by")).toBe("jotgate/test");
    expect([answerHeader(answer, "x-mock"), answerHeader(answer, "x-n")]).toEqual(["m", "2"]);
  });

  test("the header that tells a mock can be left out", async () => {
    const answer = await run({ response_example: "plain", with_mock_header: false });
    expect(answer?.headers).toEqual(["Content-Type", "application/json;charset=utf8"]);
  });

  const SCHEMA = {
    type: "object",
    properties: {
      n: { type: "integer", example: 7.9 },
      s: { type: "string", example: "a<b" },
      b: { type: "boolean", example: true },
      l: { type: "array", items: { type: "number", example: 1.5 } },
      o: { type: "object", properties: { x: { type: "string", example: "y" } } },
      random: { type: "string" },
      unknown: { type: "strange" },
    },
  };

  test("a schema makes data from its examples, at random elsewhere", async () => {
    const answer = await run({ response_schema: SCHEMA });
    const data = JSON.parse(bodyText(answer)) as Record<string, unknown>;
    expect(data).toMatchObject({ n: 7, s: "a<b", b: true, o: { x: "y" } });
    expect(data["random"]).toMatch(/^[a-z]{1,10}$/);
    expect(data["l"]).toContain(1.5);
    expect(data).not.toHaveProperty("unknown");
  });

  test("XML is made when it is asked for", async () => {
    const answer = await run({ content_type: "text/xml", response_schema: SCHEMA });
    expect(bodyText(answer)).toMatch(/^<data><n>7<\/n><s>a&lt;b<\/s><b>true<\/b>(<l>1.5<\/l>)+<o><x>y<\/x><\/o>/);
  });

  test("a delay waits before the answer", async () => {
    const phases = env.compile(mocking, { response_example: "x", delay: 2 });
    const answer = phases.access?.(makeView());
    env.clock.advance(2000);
    expect(bodyText(await answer)).toBe("x");
  });

  test.each([
    { conf: {}, want: 'object matches none of the required: ["response_example"] or ["response_schema"]' },
    { conf: { response_example: "x", content_type: "image/png" }, want: "unsupported content type!" },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => env.compile(mocking, conf)).toThrow(want);
  });
});
