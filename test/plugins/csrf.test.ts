/** csrf, and the small plugins beside it that need no socket: attach-consumer-label, client-control. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { attachConsumerLabel } from "../../src/plugins/attach-consumer-label.ts";
import { clientControl } from "../../src/plugins/client-control.ts";
import { csrf } from "../../src/plugins/csrf.ts";

describe("csrf", () => {
  const env = makeEnv();
  const phases = env.compile(csrf, { key: "secret", expires: 60 });
  const cookieOf = (): string => {
    const response = makeResponse();
    phases.headerFilter?.(makeView(), response);
    return response.headers.get("set-cookie") ?? "";
  };
  const tokenOf = (): string => /^apisix-csrf-token=([^;]+);/.exec(cookieOf())?.[1] ?? "";
  const post = async (header: string | undefined, cookies: string, method = "POST"): Promise<unknown> => {
    const headers = { Cookie: cookies, ...(header === undefined ? {} : { "Apisix-CSRF-Token": header }) };
    const answer = await runPhases(phases, makeView({ method, headers }));
    return answer && [answer.status, JSON.parse(bodyText(answer)).error_msg];
  };
  const cookie = (token: string): string => `a=1; apisix-csrf-token=${token}`;
  /** As APISIX signs it. */
  const made = (random: string, seconds: number, key: string): string => {
    const sign = createHash("sha256").update(`{expires:${seconds},random:${random},key:${key}}`).digest("hex");
    return Buffer.from(`{"random":${random},"expires":${seconds},"sign":"${sign}"}`).toString("base64");
  };
  const now = (): number => Math.floor(env.clock.nowMs() / 1000);

  test("the cookie is for the whole site, and not sent by forms of others", () => {
    expect(cookieOf()).toMatch(/^apisix-csrf-token=[A-Za-z0-9+/]+=*;path=\/;SameSite=Lax;Expires=\w{3}, .* GMT$/);
    expect(tokenOf()).not.toBe(tokenOf());
  });

  test("what was set passes, and so does a token of another node", async () => {
    const token = tokenOf();
    expect(await post(token, cookie(token))).toBeUndefined();
    const other = made("0.5", now(), "secret");
    expect(await post(other, cookie(other))).toBeUndefined();
  });

  test.each(["GET", "HEAD", "OPTIONS"])("%s needs none", async (method) => {
    expect(await post(undefined, "", method)).toBeUndefined();
  });

  test.each<{ says: string; send: () => [string | undefined, string]; want: string }>([
    { says: "no header", send: () => [undefined, cookie(tokenOf())], want: "no csrf token in headers" },
    { says: "an empty header", send: () => ["", cookie(tokenOf())], want: "no csrf token in headers" },
    { says: "no cookie", send: () => [tokenOf(), "a=1"], want: "no csrf cookie" },
    { says: "another token in the cookie", send: () => [tokenOf(), cookie(tokenOf())], want: "csrf token mismatch" },
    {
      says: "two cookies",
      send: () => {
        const token = tokenOf();
        return [token, `${cookie(token)}; apisix-csrf-token=x`];
      },
      want: "csrf token mismatch",
    },
    ...[
      { says: "no base64", token: () => "%%%" },
      { says: "another key", token: () => made("0.5", now(), "guess") },
      { says: "too old", token: () => made("0.5", now() - 61, "secret") },
      { says: "a text for the number", token: () => made('"0.5"', now(), "secret") },
      { says: "JSON that is no object", token: () => Buffer.from("null").toString("base64") },
      { says: "far too long", token: () => "a".repeat(100_000) },
    ].map(({ says, token }) => ({
      says,
      send: (): [string, string] => [token(), cookie(token())],
      want: "Failed to verify the csrf token signature",
    })),
  ])("refused: $says", async ({ send, want }) => {
    expect(await post(...send())).toEqual([401, want]);
  });

  test("a name that is no cookie's is refused when it is written", () => {
    expect(csrf.check?.({ key: "k", expires: 1, name: "a b" })).toContain('"name"');
  });
});

describe("attach-consumer-label", () => {
  const env = makeEnv({ consumers: [{ username: "ann", labels: { team: "red", bad: "a\r\nX: y" } }] });
  const conf = { headers: { "X-Team": "$team", "X-Bad": "$bad", "X-None": "$none", "X-Proto": "$constructor" } };
  const phases = env.compile(attachConsumerLabel, conf);
  const sent = (consumer: string | undefined): unknown => {
    const view = makeView({ headers: { "x-team": "forged", "X-Bad": "forged", "X-None": "forged", "X-Proto": "f" } });
    view.consumer = consumer === undefined ? undefined : env.consumer(consumer);
    phases.beforeProxy?.(view);
    return ["x-team", "x-bad", "x-none", "x-proto"].map((name) => view.headers.getAll(name));
  };

  test("labels become headers, and what callers say under these names is removed", () => {
    expect(sent("ann")).toEqual([["red"], [], [], []]);
    expect(sent(undefined)).toEqual([[], [], [], []]);
  });

  test("a name that is no header's is refused when it is written", () => {
    expect(attachConsumerLabel.check?.({ headers: { "a b": "$x" } })).toBeDefined();
  });
});

test("client-control: 0 and absent bound nothing", async () => {
  const env = makeEnv();
  for (const conf of [{}, { max_body_size: 0 }]) expect(env.compile(clientControl, conf)).toEqual({});
  const answer = await runPhases(env.compile(clientControl, { max_body_size: 4 }), makeView({ body: "12345" }));
  expect(answer?.status).toBe(413);
});
