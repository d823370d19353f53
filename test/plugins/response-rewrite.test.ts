import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { ResponseView } from "../../src/plugin/response-view.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView, type ResponseInput } from "../../src/plugin/testkit/testkit-view.ts";
import { echo } from "../../src/plugins/echo.ts";
import { responseRewrite } from "../../src/plugins/response-rewrite.ts";

const env = makeEnv();

const applied = (response: ResponseView, body: Buffer): Buffer =>
  response.stages.reduce((bytes, stage) => ("apply" in stage ? stage.apply(bytes) : bytes), body);

function filtered(conf: object, input: ResponseInput = {}, plugin = responseRewrite) {
  const view = makeView({ target: "/?a=1" });
  const response = makeResponse(input);
  view.response = response;
  env.compile(plugin, conf).headerFilter?.(view, response);
  const send = (body: Buffer | string): string => {
    if (response.replacement) return response.replacement.toString();
    return applied(response, Buffer.from(body)).toString();
  };
  return { response, send };
}

const UPSTREAM = { headers: { "Content-Length": "5", ETag: "x", "Content-Encoding": "gzip", "X-A": "up" } };

describe("response-rewrite", () => {
  test("status, body and headers are replaced, facts of the old body go", () => {
    const conf = {
      status_code: 201,
      body: '{"code":"ok"}',
      headers: { set: { "X-Status": "$status", "X-Arg": "$arg_a" } },
    };
    const { response, send } = filtered(conf, UPSTREAM);
    expect(response.status).toBe(201);
    expect(send("old")).toBe('{"code":"ok"}');
    expect([response.headers.get("x-status"), response.headers.get("x-arg")]).toEqual(["201", "1"]);
    expect(response.headers.lines.filter((_, i) => i % 2 === 0)).toEqual(["X-A", "X-Status", "X-Arg"]);
  });

  test("headers alone leave the body and its facts", () => {
    const { response, send } = filtered({ headers: { "X-Old-Form": "v" } }, UPSTREAM);
    expect(send("body")).toBe("body");
    expect([response.headers.get("etag"), response.headers.get("x-old-form")]).toEqual(["x", "v"]);
  });

  test.each([
    { headers: { add: ["X-A: b", "X-A:c"] }, want: ["up", "b", "c"] },
    { headers: { set: { "x-a": 5 } }, want: ["5"] },
    { headers: { remove: ["X-A"] }, want: [] },
    { headers: { set: { "X-A": "" } }, want: [] },
  ])("$headers makes X-A $want", ({ headers, want }) => {
    expect(filtered({ headers }, UPSTREAM).response.headers.getAll("x-a")).toEqual(want);
  });

  test.each([
    { vars: [["status", "==", 200]], status: 200, want: 500 },
    { vars: [["status", "==", 200]], status: 404, want: 404 },
    {
      vars: [
        ["arg_a", "==", "1"],
        ["sent_http_x_a", "==", "up"],
      ],
      status: 200,
      want: 500,
    },
  ])("with $vars a $status becomes $want", ({ vars, status, want }) => {
    expect(filtered({ status_code: 500, vars }, { ...UPSTREAM, status }).response.status).toBe(want);
  });

  test("an answer of the gateway is rewritten too", () => {
    expect(filtered({ body: "mine" }, { source: "gateway", status: 503 }).send("page")).toBe("mine");
  });

  test("base64 bodies and empty bodies are sent as bytes", () => {
    expect(filtered({ body: Buffer.from("héllo").toString("base64"), body_base64: true }).send("x")).toBe("héllo");
    expect(filtered({ body: "" }).send("x")).toBe("");
  });

  test.each([
    { filters: [{ regex: "a+", replace: "b" }], want: "xbxaa" },
    { filters: [{ regex: "a+", replace: "b", scope: "global" }], want: "xbxb" },
    { filters: [{ regex: "(x)(a)", replace: "$2$1", scope: "global" }], want: "axaaxa" },
    { filters: [{ regex: "A", replace: "b", options: "ijo" }], want: "xbaxaa" },
    {
      filters: [
        { regex: "x", replace: "y" },
        { regex: "y", replace: "z" },
      ],
      want: "zaaxaa",
    },
    { filters: [{ regex: "nope", replace: "z" }], want: "xaaxaa" },
  ])("filters $filters make $want", ({ filters, want }) => {
    expect(filtered({ filters }).send("xaaxaa")).toBe(want);
  });

  test("an end of text stands before a last newline", () => {
    expect(filtered({ filters: [{ regex: "\\w+$", replace: "*" }] }).send("hello world\n")).toBe("hello *\n");
  });

  test("filters see what a compressed body says, and send it plain", () => {
    const { send, response } = filtered({ filters: [{ regex: "old", replace: "new" }] }, UPSTREAM);
    expect(send(gzipSync("an old text"))).toBe("an new text");
    expect(response.headers.has("content-encoding")).toBe(false);
  });

  test("bytes that are no text pass filters unharmed", () => {
    const { response } = filtered({ filters: [{ regex: "b", replace: "c" }] });
    const bytes = Buffer.from([0xff, 0x62, 0xfe]);
    expect([...applied(response, bytes)]).toEqual([0xff, 0x63, 0xfe]);
  });

  test.each([
    { conf: { status_code: 100 }, want: 'property "status_code" validation failed: expected 100 to be at least 200' },
    { conf: { status_code: 599 }, want: 'property "status_code" validation failed: expected 599 to be at most 598' },
    { conf: { body: 1 }, want: 'property "body" validation failed: wrong type: expected string, got number' },
    { conf: { body: "!", body_base64: true }, want: "invalid base64 content" },
    { conf: { body_base64: true }, want: "invalid base64 content" },
    { conf: { vars: [["a", "=", 1]] }, want: "failed to validate the 'vars' expression: " },
    { conf: { filters: [{ regex: "(", replace: "" }] }, want: 'regex "(" validation failed: ' },
    {
      conf: { filters: [{ regex: "a", replace: "", options: "h" }] },
      want: 'regex "a" validation failed: unknown flag "h" (flags "h")',
    },
    { conf: { body: "a", filters: [{ regex: "a", replace: "" }] }, want: "failed to validate dependent schema" },
    { conf: { headers: { "X-A": "a\r\nb" } }, want: "invalid value character in header" },
  ])("$conf is refused: $want", ({ conf, want }) => {
    expect(() => env.compile(responseRewrite, conf)).toThrow(want);
  });
});

describe("echo", () => {
  test.each([
    { conf: { before_body: "before ", body: "middle", after_body: " after" }, want: "before middle after" },
    { conf: { before_body: "before ", after_body: " after" }, want: "before upstream after" },
    { conf: { body: "" }, want: "" },
  ])("$conf sends $want", ({ conf, want }) => {
    const { response, send } = filtered({ ...conf, headers: { "X-Echo": "e$uri", "X-N": 1 } }, UPSTREAM, echo);
    expect(send("upstream")).toBe(want);
    expect([response.headers.get("x-echo"), response.headers.get("x-n")]).toEqual(["e$uri", "1"]);
    expect(response.headers.has("content-length")).toBe(false);
  });

  test("some text is required", () => {
    expect(() => env.compile(echo, { headers: { "X-A": "1" } })).toThrow("object matches none of the required");
  });
});
