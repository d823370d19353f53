import { describe, expect, test } from "vitest";
import { makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { cors } from "../../src/plugins/cors.ts";

const METADATA = { allow_origins: { key_1: "https://domain.com", key_2: "http://a.com,http://b.com", any: "*" } };
const env = makeEnv({ metadata: { cors: METADATA } });

async function exchange(conf: object, origin?: string, upstream: Record<string, string> = {}) {
  const phases = env.compile(cors, conf);
  const asked = { "Access-Control-Request-Headers": "X-Q" };
  const view = makeView({ headers: origin === undefined ? asked : { Origin: origin, ...asked } });
  const answer = await runPhases(phases, view);
  view.headers.remove("origin"); // as proxy-rewrite might
  const response = makeResponse({ headers: upstream });
  phases.headerFilter?.(view, response);
  const shown = (name: string): string | undefined => response.headers.get(name.toLowerCase());
  return { answer, response, shown };
}

describe("cors", () => {
  test("by default everything is allowed and nothing is exposed", async () => {
    const { shown, response } = await exchange({}, "https://a.example.com");
    expect(shown("Access-Control-Allow-Origin")).toBe("*");
    expect(shown("Access-Control-Allow-Methods")).toBe("*");
    expect(shown("Access-Control-Allow-Headers")).toBe("*");
    expect(shown("Access-Control-Max-Age")).toBe("5");
    expect(response.headers.has("access-control-expose-headers")).toBe(false);
    expect(response.headers.has("access-control-allow-credentials")).toBe(false);
    expect(response.headers.has("vary")).toBe(false);
  });

  const LIST = { allow_origins: "https://a.com,https://b.com" };
  const REGEX = { allow_origins: "http://x.com", allow_origins_by_regex: [".*\\.test\\.com$", "example"] };
  const BY_NAME = { allow_origins: "https://test.com", allow_origins_by_metadata: ["key_1", "key_2", "none"] };
  test.each([
    { says: "a listed origin is echoed", conf: LIST, origin: "https://b.com", want: "https://b.com" },
    { says: "another origin gets nothing", conf: LIST, origin: "https://c.com", want: undefined },
    { says: "no origin gets nothing from a list", conf: LIST, origin: undefined, want: undefined },
    { says: "** echoes the origin", conf: { allow_origins: "**" }, origin: "null", want: "null" },
    { says: "** is * without origin", conf: { allow_origins: "**" }, origin: undefined, want: "*" },
    {
      says: "a single origin is sent to it",
      conf: { allow_origins: "http://x.com" },
      origin: "http://x.com",
      want: "http://x.com",
    },
    {
      says: "a single origin is not sent to others",
      conf: { allow_origins: "http://x.com" },
      origin: "http://y.com",
      want: undefined,
    },
    { says: "patterns replace the list", conf: REGEX, origin: "http://a.test.com", want: "http://a.test.com" },
    { says: "the list counts for nothing beside patterns", conf: REGEX, origin: "http://x.com", want: undefined },
    { says: "metadata allows by name", conf: BY_NAME, origin: "https://domain.com", want: "https://domain.com" },
    { says: "metadata lists are lists", conf: BY_NAME, origin: "http://b.com", want: "http://b.com" },
    { says: "own origins count beside metadata", conf: BY_NAME, origin: "https://test.com", want: "https://test.com" },
    { says: "others get nothing from metadata", conf: BY_NAME, origin: "https://no.com", want: undefined },
    {
      says: "* counts for nothing beside metadata",
      conf: { allow_origins_by_metadata: ["key_1"] },
      origin: "https://no.com",
      want: undefined,
    },
    {
      says: "* in metadata echoes",
      conf: { allow_origins_by_metadata: ["any"] },
      origin: "http://q.com",
      want: "http://q.com",
    },
  ])("$says", async ({ conf, origin, want }) => {
    const { shown } = await exchange(conf, origin);
    expect(shown("Access-Control-Allow-Origin")).toBe(want);
    expect(shown("Access-Control-Allow-Methods")).toBe(want === undefined ? undefined : "*");
  });

  test("** allows by naming, and Vary is added beside the upstream's", async () => {
    const conf = { allow_origins: "**", allow_methods: "**", allow_headers: "**", expose_headers: "*" };
    const { shown, response } = await exchange(conf, "https://z.com", { Vary: "Via" });
    expect(shown("Access-Control-Allow-Methods")).toBe("GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE");
    expect(shown("Access-Control-Allow-Headers")).toBe("X-Q");
    expect(shown("Access-Control-Expose-Headers")).toBe("*");
    expect(response.headers.getAll("vary")).toEqual(["Via", "Origin"]);
  });

  test.each([
    { conf: {}, vary: [] },
    { conf: { allow_origins: "http://a.com" }, vary: ["Origin"] },
    { conf: { allow_origins_by_regex: [".*\\.com$"] }, vary: ["Origin"] },
    { conf: { allow_origins_by_metadata: ["key_1"] }, vary: ["Origin"] },
    { conf: { timing_allow_origins: "http://a.com" }, vary: ["Origin"] },
    { conf: { timing_allow_origins: "*" }, vary: [] },
    { conf: { allow_origins: "**" }, sent: { Vary: "Accept, origin" }, vary: ["Accept, origin"] },
    { conf: { allow_origins: "**" }, sent: { Vary: "*" }, vary: ["*"] },
  ])("an answer that depends on Origin says so once: $conf, $sent", async ({ conf, sent = {}, vary }) => {
    for (const origin of ["http://a.com", "http://b.org"])
      expect((await exchange(conf, origin, sent)).response.headers.getAll("vary")).toEqual(vary);
  });

  test("the upstream's own headers are replaced", async () => {
    const { response } = await exchange({}, "http://a.com", { "access-control-allow-origin": "http://other.com" });
    expect(response.headers.getAll("access-control-allow-origin")).toEqual(["*"]);
  });

  test("credentials are allowed when everything else is named", async () => {
    const conf = { allow_origins: "**", allow_methods: "GET", allow_headers: "A", allow_credential: true };
    expect((await exchange(conf, "http://a.com")).shown("Access-Control-Allow-Credentials")).toBe("true");
    expect(() => env.compile(cors, { allow_credential: true })).toThrow(
      "you can not set '*' for other option when 'allow_credential' is true",
    );
  });

  test.each([
    { conf: { timing_allow_origins: "http://t.com" }, origin: "http://t.com", want: "http://t.com" },
    { conf: { timing_allow_origins: "http://t.com" }, origin: "http://u.com", want: undefined },
    { conf: { timing_allow_origins_by_regex: ["t\\.com"] }, origin: "http://t.com", want: "http://t.com" },
  ])("timing for $origin with $conf is $want", async ({ conf, origin, want }) => {
    expect((await exchange(conf, origin)).shown("Timing-Allow-Origin")).toBe(want);
  });

  test("a preflight is answered before anything else runs", async () => {
    const phases = env.compile(cors, {});
    expect(phases.access).toBeUndefined();
    const answer = await runPhases(phases, makeView({ method: "OPTIONS" }));
    expect(answer).toMatchObject({ status: 200, body: undefined });
    expect(cors.priority).toBe(4000);
  });

  test.each([
    {
      conf: { allow_origins: "not a url" },
      want: 'property "allow_origins" validation failed: failed to match pattern',
    },
    { conf: { allow_origins: "http://a.com,*" }, want: "failed to match pattern" },
    { conf: { max_age: "5" }, want: 'property "max_age" validation failed: wrong type: expected integer, got string' },
    { conf: { allow_origins_by_regex: ["("] }, want: "invalid regular expression" },
    { conf: { allow_origins_by_regex: [] }, want: "expect array to have at least 1 items" },
  ])("$conf is refused", ({ conf, want }) => {
    expect(() => env.compile(cors, conf)).toThrow(want);
  });
});
