import { describe, expect, test } from "vitest";
import { bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { basicAuth } from "../../src/plugins/basic-auth.ts";
import { ipRestriction } from "../../src/plugins/ip-restriction.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { multiAuth } from "../../src/plugins/multi-auth.ts";

const PLUGINS = [keyAuth, basicAuth, multiAuth, ipRestriction];
const CONSUMERS = [
  { username: "jack", auth: { "key-auth": { key: "k" }, "basic-auth": { username: "u", password: "p" } } },
];
const CONF = { auth_plugins: [{ "basic-auth": {} }, { "key-auth": { hide_credentials: true } }] };
const env = () => makeEnv({ plugins: PLUGINS, consumers: CONSUMERS });
const LOGIN = { Authorization: `Basic ${Buffer.from("u:p").toString("base64")}` };

describe("multi-auth", () => {
  test.each<{ says: string; headers: Record<string, string>; accepted: boolean }>([
    { says: "the first plugin's credentials suffice", headers: LOGIN, accepted: true },
    { says: "the second plugin's credentials suffice", headers: { apikey: "k" }, accepted: true },
    {
      says: "a wrong one beside a right one suffices",
      headers: { Authorization: "Basic x", apikey: "k" },
      accepted: true,
    },
    { says: "none is a refusal", headers: {}, accepted: false },
    { says: "wrong ones are a refusal", headers: { Authorization: "Basic x", apikey: "x" }, accepted: false },
  ])("$says", async ({ headers, accepted }) => {
    const view = makeView({ headers });
    const answer = await runPhases(env().compile(multiAuth, CONF), view);
    expect(view.consumer?.username).toBe(accepted ? "jack" : undefined);
    expect(answer?.status).toBe(accepted ? undefined : 401);
    if (accepted) return;
    expect(bodyText(answer)).toBe('{"message":"Authorization Failed"}\n');
    const lines = answer?.headers ?? [];
    const challenges = lines.filter((_text, at) => lines[at - 1] === "WWW-Authenticate");
    expect(challenges).toEqual(['Basic realm="basic"', 'apikey realm="key"']);
  });

  test("a plugin that waits is waited for before the next is asked", async () => {
    const made = env();
    made.setPending("basic-auth", async () => {});
    const view = makeView({ headers: { Authorization: "Basic eDp4", apikey: "k" } });
    expect(await runPhases(made.compile(multiAuth, CONF), view)).toBeUndefined();
    expect(view.consumer?.username).toBe("jack");
  });

  const find = (name: string) => PLUGINS.find((plugin) => plugin.name === name);
  test.each([
    { auth_plugins: [{ "key-auth": {} }, { "no-such": {} }], want: "no-such plugin did not found" },
    {
      auth_plugins: [{ "key-auth": {} }, { "ip-restriction": {} }],
      want: "ip-restriction plugin is not supported",
    },
    {
      auth_plugins: [{ "key-auth": { header: 1 } }, { "basic-auth": {} }],
      want: 'plugin key-auth check schema failed: property "header" validation failed: wrong type: expected string, got number',
    },
    { auth_plugins: [{ "key-auth": {} }, { "basic-auth": {} }], want: undefined },
  ])("at write $auth_plugins is answered $want", ({ auth_plugins, want }) => {
    expect(multiAuth.check?.({ auth_plugins }, find)).toBe(want);
  });

  test("one plugin alone is refused", () => {
    expect(() => env().compile(multiAuth, { auth_plugins: [{ "key-auth": {} }] })).toThrow(
      'property "auth_plugins" validation failed: expect array to have at least 2 items',
    );
  });
});
