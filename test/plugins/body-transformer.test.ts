/** body-transformer: formats in, templates, what cannot be read or is too much; and bodies on every lane. */
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { bodyTransformer } from "../../src/plugins/body-transformer/body-transformer.ts";
import { EVERY_LANE, type LaneClient, openEveryLane, openNodeUpstream } from "../gateway/any-lane.ts";
import { upstreamOf } from "../gateway/support.ts";

const env = makeEnv({ plugins: [bodyTransformer] });
const JSON_TYPE = { "Content-Type": "application/json" };

interface Made {
  readonly status?: number | undefined;
  readonly text: string;
}

async function request(template: string, input: ViewInput = {}, conf: object = {}): Promise<Made> {
  const phases = env.compile(bodyTransformer, { request: { template, ...conf } });
  const view = makeView({ method: "POST", headers: JSON_TYPE, ...input });
  const answer = await runPhases(phases, view);
  if (answer) return { status: answer.status, text: bodyText(answer) };
  return { text: (await view.body.read(1e9)).toString() };
}
const json = async (template: string, data: unknown): Promise<string> =>
  (await request(template, { body: JSON.stringify(data) })).text;

describe("expressions", () => {
  test.each([
    { template: "{{name}} is {{age}}", data: { name: "jack", age: 18 }, want: "jack is 18" },
    {
      template: '{"foo":"{{name .. " world"}}","bar":{{age+10}}}',
      data: { name: "hello", age: 20 },
      want: '{"foo":"hello world","bar":30}',
    },
    { template: "{{a.b[2].c}}{{a['b'][1]}}", data: { a: { b: [1, { c: "x" }] } }, want: "x1" },
    { template: "{{missing}}|{{none}}|{{no}}", data: { none: null, no: false }, want: "||false" },
    {
      template: "{{1 + 2 * 3 - -1}} {{(1 + 2) * 3}} {{7 % 4}} {{-7 % 4}} {{1 / 4}} {{0.1 + 0.2}}",
      data: {},
      want: "8 9 3 1 0.25 0.3",
    },
    { template: "{{'a' .. 1 .. 'b'}} {{#list}} {{#'é'}}", data: { list: [1, 2] }, want: "a1b 2 2" },
    {
      template: "{{a == nil and 'none' or a}} {{not a}} {{1 < 2}} {{'a' >= 'b'}} {{1 ~= '1'}}",
      data: {},
      want: "none true true false true",
    },
    {
      template: "{{html}}{*html*}",
      data: { html: "<a href='/'>&" },
      want: "&lt;a href=&#39;&#47;&#39;&gt;&amp;<a href='/'>&",
    },
    {
      template: "{*_escape_json(v)*} {*_escape_xml(v.t)*}",
      data: { v: { t: '<"a">' } },
      want: '{"t":"<\\"a\\">"} &lt;&quot;a&quot;&gt;',
    },
    { template: "{*_escape_json(nothing)*}", data: {}, want: "null" },
    { template: "{{tostring(n) .. tonumber('4') + 1}} {{string.upper('a')}}", data: { n: 1 }, want: "15 A" },
    { template: "{{_ctx.var.request_method}} {{_ctx.var['http_x_a']}}", data: {}, want: "POST " },
    { template: "{*_body*}", data: { a: 1 }, want: '{"a":1}' },
    { template: "a { b } {# no #}c", data: {}, want: "a { b } c" },
  ])("$template: $want", async ({ data, template, want }) => {
    expect(await json(template, data)).toBe(want);
  });

  test.each([
    {
      template: "{% if a == nil then %}none{% elseif a > 1 then %}many{% else %}one{% end %}",
      data: [{}, { a: 2 }, { a: 1 }],
      want: ["none", "many", "one"],
    },
    {
      template:
        "{% for k, v in pairs(o) do %}{{k}}={{v}};{% end %}{% for i, v in ipairs(l) do %}{{i}}{{v.n}}{% if i == 1 then %},{% end %}{% end %}",
      data: [{ o: { a: 1, b: "x" }, l: [{ n: "p" }, { n: "q" }] }],
      want: ["a=1;b=x;1p,2q"],
    },
    { template: "x\n  {% if true then %}\n  y\n  {% end %}\nz", data: [{}], want: ["x\n  y\nz"] },
  ])("statements: $template", async ({ data, template, want }) => {
    expect(await Promise.all(data.map((one) => json(template, one)))).toEqual(want);
  });

  test.each([
    "{{}}",
    "{{a b}}",
    "{{a",
    "{{name()}}",
    "{{os.execute('x')}}",
    "{{string.rep('a', 9)}}",
    "{{_ctx.consumer}}",
    "{{a.b.}}",
    "{% x = 1 %}",
    "{% local x = 1 %}",
    "{% if a %}",
    "{% if a then %}",
    "{% end %}",
    "{% for x in io.lines() do %}{% end %}",
    "{{'a}}",
    `{{${"(".repeat(100)}1${")".repeat(100)}}}`,
  ])("%s is refused where it is written", (template) => {
    expect(() => env.compile(bodyTransformer, { request: { template } })).toThrow(/request\.template: /);
  });

  test("members of a body cannot stand in for what templates are given, nor reach prototypes", async () => {
    const body = '{"_escape_json":"x","_body":"y","_ctx":{"var":{}},"__proto__":{"a":1}}';
    const template = "{*_escape_json(1)*}{*_body*}{{constructor}}{{toString}}{{a}}{{_ctx.var.host}}";
    expect((await request(template, { body })).text).toBe(`1${body}gateway.test`);
  });
});

describe("formats", () => {
  const multipart = [
    "--b",
    'Content-Disposition: form-data; name="name"',
    "",
    "jack",
    "--b",
    'Content-Disposition: form-data; filename="f"; name=age',
    "",
    "18",
    "--b--",
    "",
  ].join("\r\n");

  test.each([
    {
      type: "text/xml",
      body: '<a:r xmlns:a="u"><a:n>jack</a:n><a:e/><i>1</i><i k="v">2</i></a:r>',
      template: "{{r.n}}[{{r.e}}]{{r.i[1]}}{{r.i[2][1]}}{{r.i[2]._attr.k}}",
      want: "jack[]12v",
    },
    { type: "text/xml", body: "<r><![CDATA[<x>]]>&amp;&#65;</r>", template: "{*r*}", want: "<x>&A" },
    {
      type: "application/x-www-form-urlencoded",
      body: "name=a+b&n=1&n=2",
      template: "{{name}}{{n[2]}}{{n[1]+1}}",
      want: "a b22",
    },
    { type: "multipart/form-data; boundary=b", body: multipart, template: "{{name}}{{age+1}}", want: "jack19" },
    { type: "text/plain", body: "as it is", template: "{*_body*}!", want: "as it is!" },
    { type: "text/plain", body: '{"a":1}', template: "{{a}}", want: "1", conf: { input_format: "json" } },
    { type: "text/plain", body: "x", template: Buffer.from("{{_body}}!").toString("base64"), want: "x!" },
    {
      type: "text/plain",
      body: "x",
      template: Buffer.from("abc").toString("base64"),
      want: "abc",
      conf: { template_is_base64: true },
    },
    { type: "text/plain", body: "x", template: "abcd", want: "abcd" },
  ])("$type with $template: $want", async ({ body, conf, template, type, want }) => {
    expect(await request(template, { headers: { "Content-Type": type }, body }, conf)).toEqual({ text: want });
  });

  const form = { "Content-Type": "application/x-www-form-urlencoded" };

  test("very many values of one name are one list, and too many arguments are refused", async () => {
    const body = Array.from({ length: 100_000 }, (_none, at) => `a=${at}`).join("&");
    expect(await request("{{#a}} {{a[1]}} {{a[100000]}} {{b}}", { headers: form, body })).toEqual({
      text: "100000 0 99999 ",
    });
    const more = await request("{{#a}}", { headers: form, body: "a&".repeat(200_000) });
    expect([more.status, more.text]).toEqual([400, expect.stringContaining("more than 200000 arguments")]);
    const xml = `<r>${"<a>1</a>".repeat(100_000)}</r>`;
    expect(await request("{{#r.a}}", { headers: { "Content-Type": "text/xml" }, body: xml })).toEqual({
      text: "100000",
    });
  });

  test("JSON that is nested too deep to be written is a 503", async () => {
    const body = `{"a":${"[".repeat(50_000)}${"]".repeat(50_000)}}`;
    expect(await request("{*_escape_json(a)*}", { body })).toMatchObject({
      status: 503,
      text: expect.stringContaining("nested too deep"),
    });
  });

  test("a GET is read by its arguments, and gets a body", async () => {
    expect(await request("{{a}}{{b[1]}}", { method: "GET", target: "/?a=1&b=2&b=3" })).toEqual({ text: "12" });
  });

  test.each([
    { type: "text/xml", body: "<a><b></a>", says: /^\{"message":"request body decode: / },
    { type: "text/xml", body: '<!DOCTYPE a [<!ENTITY x "1">]><a>&x;</a>', says: /a document type is not allowed/ },
    { type: "text/xml", body: "<a>&nbsp;</a>", says: /entity/i },
    { type: "text/xml", body: "<a>".repeat(300), says: /nested more than 256 deep/ },
    { type: "application/json", body: '{"a":', says: /request body decode/ },
    { type: "application/json", body: "1", says: /neither an object nor a list/ },
    { type: "multipart/form-data; boundary=b", body: "--b\r\nno head", says: /request body decode/ },
    { type: "multipart/form-data", body: "x", says: /no boundary/ },
  ])("$type $body: 400", async ({ body, says, type }) => {
    const made = await request("{{a}}", { headers: { "Content-Type": type }, body });
    expect([made.status, made.text]).toEqual([400, expect.stringMatching(says)]);
  });

  test("what a template asks of a body that has it not is a 503; a longer body than allowed a 413", async () => {
    const body = '{"a":1,"t":{}}';
    for (const template of [
      "{{x.y}}",
      "{{a.b}}",
      "{{t}}",
      "{{x + 1}}",
      "{{a < 'b'}}",
      "{% for k, v in pairs(a) do %}{% end %}",
    ])
      expect(await request(template, { body })).toMatchObject({
        status: 503,
        text: expect.stringContaining("request template rendering: "),
      });
    const phases = env.compile(bodyTransformer, { request: { template: "x" }, max_req_body_size: 3 });
    expect((await runPhases(phases, makeView({ method: "POST", body: "four" })))?.status).toBe(413);
  });

  test("loops within loops end", async () => {
    const items = Array.from({ length: 2_000 }, () => 1);
    const template = "{% for i, a in ipairs(l) do %}{% for j, b in ipairs(l) do %}x{% end %}{% end %}";
    expect(await request(template, { body: JSON.stringify({ l: items }) })).toMatchObject({
      status: 503,
      text: expect.stringContaining("steps"),
    });
  });
});

describe.each(EVERY_LANE)("$lane", (lane) => {
  const lanes = openEveryLane(lane);
  let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
  let client: LaneClient;
  let answer: { headers: Record<string, string>; body: Buffer };
  let asked = "";
  beforeAll(async () => {
    upstream = await openNodeUpstream((incoming, response) => {
      asked = "";
      incoming.on("data", (piece: Buffer) => {
        asked += piece.toString();
      });
      incoming.on("end", () => response.writeHead(200, answer.headers).end(answer.body));
    });
    const conf = {
      request: { template: '{"n":"{{name}}"}' },
      response: { template: "<n>{{_escape_xml(n)}}</n><s>{{_ctx.var.status}}</s>", input_format: "json" },
      max_resp_body_size: 1_000_000,
    };
    client = await lanes.open({
      x: { upstream: upstreamOf([upstream.port]), plugins: [env.compile(bodyTransformer, conf)] },
    });
  });
  afterAll(() => upstream.close());
  const ask = () => client.ask({ method: "POST", path: "/x", body: '{"name":"jack"}', headers: JSON_TYPE });

  test.each([undefined, "gzip", "br"])("both bodies are made anew; the response in %s", async (coding) => {
    const plain = Buffer.from('{"n":"a<b"}');
    const body = coding === "gzip" ? gzipSync(plain) : coding === "br" ? brotliCompressSync(plain) : plain;
    answer = { headers: { ETag: '"e"', ...(coding ? { "Content-Encoding": coding } : {}) }, body };
    const got = await ask();
    expect(asked).toBe('{"n":"jack"}');
    expect(got.body.toString()).toBe("<n>a&amp;lt;b</n><s>200</s>");
    expect([got.headers["content-encoding"], got.headers["etag"], got.headers["content-length"]]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  test.each([
    { says: "no JSON", headers: {}, body: Buffer.from("{") },
    { says: "a bomb", headers: { "Content-Encoding": "gzip" }, body: gzipSync(Buffer.alloc(50_000_000)) },
    { says: "a coding that nobody reads", headers: { "Content-Encoding": "zstd" }, body: Buffer.from("{}") },
    { says: "too long", headers: {}, body: Buffer.alloc(1_000_001) },
  ])("$says is a 502, and the next one is served", async ({ body, headers }) => {
    answer = { headers: headers as Record<string, string>, body };
    expect((await ask()).status).toBe(502);
    answer = { headers: {}, body: Buffer.from("{}") };
    expect((await ask()).status).toBe(200);
  });
});
