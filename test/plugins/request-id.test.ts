import { describe, expect, test } from "vitest";
import { makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { compileVariable } from "../../src/plugin/variables/variables.ts";
import { requestId } from "../../src/plugins/request-id.ts";

async function exchange(conf: object, sent: Record<string, string> = {}, upstream: Record<string, string> = {}) {
  const phases = makeEnv().compile(requestId, conf);
  const view = makeView({ headers: sent });
  await runPhases(phases, view);
  const response = makeResponse({ headers: upstream });
  phases.headerFilter?.(view, response);
  const lower = ((conf as { header_name?: string }).header_name ?? "X-Request-Id").toLowerCase();
  return { sent: view.header(lower), back: response.headers.get(lower), view };
}

describe("request-id", () => {
  test.each([
    { algorithm: "uuid", form: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/ },
    { algorithm: "uuidv7", form: /^018bcfe5-6800-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/ },
    { algorithm: "nanoid", form: /^[\w-]{21}$/ },
    { algorithm: "ksuid", form: /^[0-9A-Za-z]{27}$/ },
    { algorithm: "range_id", form: /^[0-9A-Za-z]{16}$/ },
    { algorithm: "range_id", range_id: { length: 20, char_set: "abcdef" }, form: /^[a-f]{20}$/ },
  ])("$algorithm makes ids of its form, new ones each time", async ({ form, ...conf }) => {
    const first = await exchange(conf);
    expect(first.sent).toMatch(form);
    expect(first.back).toBe(first.sent);
    expect((await exchange(conf)).sent).not.toBe(first.sent);
  });

  test("ids of ksuid sort by time", async () => {
    const env = makeEnv();
    const phases = env.compile(requestId, { algorithm: "ksuid" });
    const make = async () => {
      const view = makeView();
      await runPhases(phases, view);
      return view.header("x-request-id") ?? "";
    };
    const first = await make();
    env.clock.advance(5000);
    expect((await make()) > first).toBe(true);
  });

  test("a client's id is kept, an empty one replaced", async () => {
    expect(await exchange({}, { "X-Request-Id": "mine" })).toMatchObject({ sent: "mine", back: "mine" });
    expect((await exchange({}, { "X-Request-Id": "" })).sent).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("an id the upstream set stays", async () => {
    expect((await exchange({}, {}, { "x-request-id": "theirs" })).back).toBe("theirs");
  });

  test("a name that no header can have is refused", () => {
    expect(() => makeEnv().compile(requestId, { header_name: "X Id" })).toThrow("invalid field character in header");
  });

  test("another header may carry it, and it need not come back", async () => {
    const { sent, back, view } = await exchange({ header_name: "X-Trace", include_in_response: false });
    expect(sent).toMatch(/^[0-9a-f-]{36}$/);
    expect(back).toBeUndefined();
    expect(compileVariable("request_id")(view)).toBe(sent);
  });
});
