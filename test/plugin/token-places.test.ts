/** What of a query, a URL and a value is shown in a log. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import type { CompileEnv, Plugin } from "../../src/plugin/plugin.ts";
import { hideTokens, observeTokenPlaces, TokenPlaces } from "../../src/plugin/variables/token-places.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { mocking } from "../../src/plugins/mocking.ts";
import { openStates } from "../../src/runtime/shared-states.ts";
import { slack } from "../support/long-run.ts";

const JWT = "eyJhbGciOiJIUzI1NiJ9.eyJrZXkiOiJ1c2VyIn0.c2lnbmF0dXJl";

const places = new TokenPlaces();
places.note({ query: "my_login", header: "X_My_Header", cookie: "any" });

describe("queries", () => {
  test.each([
    { says: "nothing secret", query: "a=1&b=%20x&&c", want: "a=1&b=%20x&&c" },
    { says: "jwt", query: "a=1&jwt=abc&b=2", want: "a=1&jwt=***&b=2" },
    { says: "the name in escapes", query: "%6a%77t=abc", want: "%6a%77t=***" },
    { says: "the name in capitals", query: "JWT=abc", want: "JWT=***" },
    { says: "access_token", query: "access_token=abc", want: "access_token=***" },
    { says: "apikey", query: "apikey=abc", want: "apikey=***" },
    { says: "api-key", query: "api-key=abc", want: "api-key=***" },
    { says: "password", query: "password=abc", want: "password=***" },
    { says: "the signature of a link", query: "X-Amz-Signature=ab&Expires=1", want: "X-Amz-Signature=***&Expires=1" },
    { says: "the code of a login", query: "code=abc&page=2", want: "code=***&page=2" },
    { says: "a name that is configured", query: "my_login=abc&my_page=1", want: "my_login=***&my_page=1" },
    {
      says: "words that only contain one",
      query: "author=bob&monkey=1&passage=2",
      want: "author=bob&monkey=1&passage=2",
    },
    { says: "a token by any name", query: `x=${JWT}&y=1`, want: "x=***&y=1" },
    { says: "a token with escaped dots", query: `x=${JWT.replaceAll(".", "%2E")}`, want: "x=***" },
    { says: "a token without a name", query: JWT, want: "***" },
    { says: "the same name twice", query: "jwt=a&jwt=b", want: "jwt=***&jwt=***" },
    { says: "a value with =", query: "token=a=b", want: "token=***" },
  ])("$says", ({ query, want }) => {
    expect(places.hideQuery(query)).toBe(want);
  });
});

describe("URLs and values", () => {
  test.each([
    { says: "a target", text: "/a?jwt=x&b=1", want: "/a?jwt=***&b=1" },
    { says: "a target without query", text: "/a/b", want: "/a/b" },
    { says: "a URL", text: "https://h.test/p?token=x", want: "https://h.test/p?token=***" },
    { says: "a fragment", text: "https://h.test/#access_token=x&a=1", want: "https://h.test/#access_token=***&a=1" },
    { says: "userinfo", text: "https://u:p@h.test/", want: "https://***@h.test/" },
    { says: "a token in the path", text: `/verify/${JWT}/done`, want: "/verify/***/done" },
    { says: "a question mark in the fragment", text: "/#a?jwt=x", want: "/#a?jwt=***" },
  ])("$says", ({ text, want }) => {
    expect(places.hideUrl(text)).toBe(want);
  });

  test.each([
    { says: "plain words", text: "Mozilla/5.0 (X11; basics)", want: "Mozilla/5.0 (X11; basics)" },
    { says: "bearer", text: "Bearer abc def", want: "Bearer *** def" },
    { says: "basic", text: "x basic dXNlcg==", want: "x basic ***" },
    { says: "a token inside a text", text: `id ${JWT}; end`, want: "id ***; end" },
    { says: "a host name", text: "a.b-c.test", want: "a.b-c.test" },
  ])("$says", ({ text, want }) => {
    expect(hideTokens(text)).toBe(want);
  });

  test.each([
    "Authorization",
    "x-api-key",
    "X_API_KEY",
    "cookie",
    "set_cookie",
    "x_my_header",
    "x-auth-token",
    "apikey",
  ])("header %s is hidden", (name) => {
    expect(places.hidesHeader(name)).toBe(true);
  });

  test.each(["user-agent", "host", "referer", "x-forwarded-for", "content-type", "accept"])(
    "header %s is shown",
    (name) => {
      expect(places.hidesHeader(name)).toBe(false);
    },
  );
});

describe("what plugins read", () => {
  test("the configurations of authentication plugins are observed, others are not", () => {
    const seen = new TokenPlaces();
    const env = {
      credentials: () => ({ get: () => undefined, resolvePending: () => undefined, size: 0 }),
      settings: { compat: "default", tokenCache: { entries: 1, bytes: 1_000 } },
      states: openStates(systemClock),
      metrics: openMetrics(),
      clock: systemClock,
      log: silentLog,
      resource: { kind: "route", id: "1" },
      metadata: () => undefined,
    } as unknown as CompileEnv;
    const [jwt, key, other] = [jwtAuth, keyAuth, mocking].map((plugin) => observeTokenPlaces(plugin, seen));
    expect(other).toBe(mocking);
    const compile = (plugin: Plugin | undefined, conf: object): void => {
      plugin?.compile(conf, env);
    };
    expect(seen.hidesArgument("mine")).toBe(false);
    compile(jwt, { header: "X-Mine", query: "mine", cookie: "mine", hide_credentials: false });
    compile(key, { header: "X-Other", query: "other", realm: "key", hide_credentials: false });
    expect([seen.hidesArgument("mine"), seen.hidesArgument("other"), seen.hidesArgument("third")]).toEqual([
      true,
      true,
      false,
    ]);
    expect([seen.hidesHeader("x-mine"), seen.hidesHeader("x_other"), seen.hidesHeader("x-third")]).toEqual([
      true,
      true,
      false,
    ]);
  });

  test("more names than are remembered hide everything", () => {
    const full = new TokenPlaces();
    for (let i = 0; i < 1_001; i++) full.note({ query: `q${i}`, header: `h${i}` });
    expect(full.hidesArgument("page")).toBe(true);
    expect(full.hidesHeader("user-agent")).toBe(true);
  });
});

test("hiding takes time in proportion to the text", () => {
  const attacks = [
    "eyJ".repeat(200_000), // by the square of its length each would take minutes
    "eyJ.".repeat(150_000),
    "bearer ".repeat(80_000),
    " ".repeat(600_000),
    "&=".repeat(300_000),
  ];
  for (const text of attacks) {
    const startMs = performance.now();
    hideTokens(text);
    places.hideUrl(`/?${text}`);
    expect(performance.now() - startMs).toBeLessThan(slack(500));
  }
});

test("no token is shown, wherever in a query it stands", () => {
  const name = fc.stringMatching(/^[a-z_]{1,8}$/);
  const pair = fc.tuple(name, fc.stringMatching(/^[a-z0-9%+]{0,8}$/)).map(([one, value]) => `${one}=${value}`);
  fc.assert(
    fc.property(fc.array(pair), name, fc.array(pair), fc.boolean(), (before, own, after, escaped) => {
      const token = escaped ? JWT.replaceAll(".", "%2e") : JWT;
      const shown = places.hideQuery([...before, `${own}=${token}`, ...after].join("&"));
      expect(shown).not.toContain("eyJ");
      expect(shown).not.toContain("c2lnbmF0dXJl");
    }),
  );
});
