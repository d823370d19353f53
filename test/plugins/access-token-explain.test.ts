/** What access-token says it would do is what it does, with every step, without a count and without the token's text. */
import { describe, expect, test } from "vitest";
import type { Step } from "../../src/plugin/explanation.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { API, bearing, NOW, openTokenNode, ROUTE, tokenOf } from "../support/access-token.ts";

function explained(node: ReturnType<typeof openTokenNode>, token: string, conf = {}) {
  const phases = node.env.compile(accessToken, { ...ROUTE, ...conf });
  const steps: Step[] = [];
  const view = makeView(bearing(token));
  const answer = phases.explain?.(view, { token: undefined, nowMs: NOW * 1_000, steps });
  if (answer instanceof Promise) throw new Error("there was nothing to wait for");
  return { answer, steps, view };
}

describe("an explanation", () => {
  test.each([
    ["good", tokenOf()],
    ["expired", tokenOf({ exp: NOW - 100 })],
    ["for somebody else", tokenOf({ aud: "https://other.example" })],
    ["of a stranger", tokenOf({ iss: "https://stranger.example" })],
    ["under another kid", tokenOf({}, { header: { kid: "k9" } })],
    ["no token", "abc"],
    ["of nobody", tokenOf({ sub: "nobody" })],
  ])("of a token that is %s is what is answered", async (_says, token) => {
    const node = openTokenNode();
    const said = explained(node, token);
    expect(await node.count("ok")).toBe(0);
    expect(node.issuer.wantedKids).toEqual([]);
    const { answer } = await node.callWith(token);
    expect([said.answer?.status, said.answer?.body, said.answer?.reason]).toEqual([
      ...[answer?.status, answer?.body, answer?.reason],
    ]);
  });

  test("of a token stays one where the route serves its metadata", () => {
    const phases = openTokenNode().env.compile(accessToken, {
      ...{ ...ROUTE, resource: "https://api.example/", resource_metadata: true },
    });
    const view = makeView({ target: "/.well-known/oauth-protected-resource" });
    const steps: Step[] = [];
    const explaining = { nowMs: NOW * 1_000, steps };
    expect(phases.explain?.(view, { ...explaining, token: tokenOf({ aud: "x" }) })).toMatchObject({ status: 401 });
    expect(steps.length).toBeGreaterThan(5);
    expect(phases.explain?.(view, { ...explaining, token: undefined })).toMatchObject({ status: 200 });
  });

  test("judges the steps behind the first failure too", () => {
    const token = tokenOf({ aud: "https://other.example" });
    const { steps, answer } = explained(openTokenNode(), token, { required_scopes: ["orders.read"] });
    expect(answer?.reason).toContain("wrong_audience");
    const of = (name: string): Step | undefined => steps.find(({ step }) => step === name);
    expect(of("audience")).toMatchObject({ ok: false, has: "https://other.example", wanted: [API] });
    expect(of("signature")).toMatchObject({ ok: true, kid: "k1" });
    expect(of("scopes")).toMatchObject({ ok: false, missing: ["orders.read"] });
  });

  test("tells nothing of a token whose signature is not good but lengths and numbers", () => {
    const good = tokenOf({ iss: "https://idp.example", aud: "told-by-a-stranger", sub: "somebody" });
    const { steps } = explained(openTokenNode(), `${good.slice(0, -6)}AAAAAA`);
    expect(steps.find(({ step }) => step === "signature")).toMatchObject({ ok: false });
    expect(JSON.stringify(steps)).not.toMatch(/told-by-a-stranger|somebody/);
    expect(steps.find(({ step }) => step === "audience")).toMatchObject({ characters: 20 });
  });
});
