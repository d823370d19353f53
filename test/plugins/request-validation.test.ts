import { describe, expect, test } from "vitest";
import { bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { requestValidation } from "../../src/plugins/request-validation.ts";
import { slack } from "../support/long-run.ts";

const env = makeEnv();
const BODY = {
  type: "object",
  required: ["name"],
  properties: {
    name: { type: "string", minLength: 2, pattern: "^[a-z]+$" },
    age: { type: "integer", default: 5 },
    tags: { type: "array", items: { type: "string" } },
    kind: { enum: ["a", "b"] },
  },
};
const run = async (conf: object, input: ViewInput) => {
  const view = makeView({ method: "POST", ...input });
  const answer = await runPhases(env.compile(requestValidation, conf), view);
  return { answer, view };
};

describe("request-validation of bodies", () => {
  test.each([
    { body: "{}", want: 'property "name" is required' },
    { body: '{"name":1}', want: 'property "name" validation failed: wrong type: expected string, got number' },
    { body: '{"name":"a"}', want: 'property "name" validation failed: string too short, expected at least 2, got 1' },
    {
      body: '{"name":"ab1"}',
      want: 'property "name" validation failed: failed to match pattern "^[a-z]+$" with "ab1"',
    },
    {
      body: '{"name":"ab","tags":["x",2]}',
      want: 'property "tags" validation failed: failed to validate item 2: wrong type: expected string, got number',
    },
    { body: '{"name":"ab","kind":"c"}', want: 'property "kind" validation failed: matches none of the enum values' },
    { body: '{"name":', want: "Expected value but found T_END at character 9" },
    { body: "", want: "" },
  ])("$body is refused: $want", async ({ body, want }) => {
    const { answer } = await run({ body_schema: BODY }, { body });
    expect([answer?.status, bodyText(answer)]).toEqual([400, want]);
  });

  test("what was checked is what goes upstream, defaults filled in", async () => {
    const { answer, view } = await run({ body_schema: BODY }, { body: ' {"name": "ab", "name": "cd"} ' });
    expect(answer).toBeUndefined();
    expect((await view.body.read(1000)).toString()).toBe('{"name":"cd","age":5}');
  });

  test("forms are checked as texts and sent as they are", async () => {
    const form = { "Content-Type": "application/x-www-form-urlencoded" };
    const { answer, view } = await run({ body_schema: BODY }, { headers: form, body: "name=ab&x=1" });
    expect(answer).toBeUndefined();
    expect((await view.body.read(1000)).toString()).toBe("name=ab&x=1");
    const refused = await run({ body_schema: BODY }, { headers: form, body: "age=1" });
    expect(bodyText(refused.answer)).toBe('property "name" is required');
  });

  test.each([
    { says: "two content types", conf: {}, input: { headers: { "Content-Type": ["a/b", "c/d"] }, body: "{}" } },
    { says: "a body above the limit", conf: { max_req_body_size: 3 }, input: { body: '{"name":"ab"}' } },
  ])("$says is refused without a word", async ({ conf, input }) => {
    const { answer } = await run({ body_schema: BODY, ...conf }, input);
    expect([answer?.status, answer?.body]).toEqual([400, undefined]);
  });

  test("code and text can be set", async () => {
    const { answer } = await run({ body_schema: BODY, rejected_code: 422, rejected_msg: "bad" }, { body: "{}" });
    expect([answer?.status, bodyText(answer)]).toEqual([422, "bad"]);
  });
});

describe("request-validation of headers and schemas", () => {
  const HEADERS = { type: "object", required: ["X-Key"], properties: { "X-Key": { type: "string", pattern: "^k" } } };
  test.each([
    { headers: { "x-key": "k1" }, want: undefined },
    { headers: { "x-key": "1" }, want: 'property "x-key" validation failed: failed to match pattern "^k" with "1"' },
    { headers: {}, want: 'property "x-key" is required' },
    {
      headers: { "x-key": ["k1", "k2"] },
      want: 'property "x-key" validation failed: wrong type: expected string, got table',
    },
  ])("headers $headers are answered $want", async ({ headers, want }) => {
    const { answer } = await run({ header_schema: HEADERS }, { headers });
    expect(answer && bodyText(answer)).toBe(want);
  });

  test("Lua's types mean what they mean to APISIX", async () => {
    const schema = { type: "object", properties: { t: { type: "table" }, f: { type: "function" } } };
    const status = async (body: string) => (await run({ body_schema: schema }, { body })).answer?.status;
    expect([await status('{"t":[]}'), await status('{"t":{}}'), await status('{"t":1}')]).toEqual([
      undefined,
      undefined,
      400,
    ]);
    expect(await status('{"f":1}')).toBe(400);
  });

  test("a pattern that would blow up elsewhere is linear here", async () => {
    const schema = { type: "object", properties: { a: { type: "string", pattern: "^(a+)+$" } } };
    const started = performance.now();
    const { answer } = await run({ body_schema: schema }, { body: JSON.stringify({ a: `${"a".repeat(5000)}!` }) });
    expect(answer?.status).toBe(400);
    expect(performance.now() - started).toBeLessThan(slack(2_000));
  });

  test.each([
    { conf: {}, want: 'object matches none of the required: ["header_schema"] or ["body_schema"]' },
    { conf: { body_schema: { type: "strange" } }, want: "invalid JSON type: strange" },
    { conf: { body_schema: { properties: { a: { enum: "b" } } } }, want: "(table expected, got string)" },
    { conf: { body_schema: { minLength: "x" } }, want: "schema is invalid" },
    { conf: { body_schema: { pattern: "(?=a)" } }, want: "look-around is not supported" },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => env.compile(requestValidation, conf)).toThrow(want);
  });
});
