import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bodyText, type EnvInput, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { authzCasbin } from "../../src/plugins/authz-casbin/authz-casbin.ts";
import { temporaryFolder } from "../support/process.ts";

const sections = (matcher: string, more = ""): string => `[request_definition]
                    r = sub, obj, act
                    [policy_definition]
                    p = sub, obj, act
                    ${more}
                    [policy_effect]
                    e = some(where (p.eft == allow))
                    [matchers]
                    m = ${matcher}`;
const ROLES = "[role_definition]\n g = _, _";
const MODEL = sections(
  "(g(r.sub, p.sub) || keyMatch(r.sub, p.sub)) && keyMatch(r.obj, p.obj) && keyMatch(r.act, p.act)",
  ROLES,
);
const POLICY = `p, *, /, GET
                    # whoever is an admin
                    p, admin, *, *
                    g, alice, admin`;
const conf = (more: object = {}) => ({ model: MODEL, policy: POLICY, username: "X-User", ...more });

function ask(of: object, input: ViewInput = {}, env: EnvInput = {}) {
  return runPhases(makeEnv(env).compile(authzCasbin, of), makeView(input));
}
const as = (user: string | undefined, target = "/hello", method = "GET"): ViewInput => ({
  ...{ target, method },
  headers: user === undefined ? {} : { "X-User": user },
});

describe("authz-casbin", () => {
  test.each<[string | undefined, string, string, number | undefined]>([
    [undefined, "/", "GET", undefined],
    [undefined, "/hello", "GET", 403],
    [undefined, "/", "POST", 403],
    ["bob", "/hello", "GET", 403],
    ["admin", "/hello", "DELETE", undefined],
    ["alice", "/hello", "POST", undefined],
    ["alice,admin", "/hello", "POST", 403],
    ["__proto__", "/hello", "POST", 403],
  ])("%s asks for %s by %s: %s", async (user, target, method, want) => {
    const answer = await ask(conf(), as(user, target, method));
    expect(answer?.status).toBe(want);
    if (want === 403) expect(bodyText(answer)).toBe('{"message":"Access Denied"}\n');
  });

  test("asking about users that nobody knows leaves nothing behind", async () => {
    const phases = makeEnv().compile(authzCasbin, conf());
    for (let n = 0; n < 2_000; n++) expect((await runPhases(phases, makeView(as(`user${n}`))))?.status).toBe(403);
    expect(await runPhases(phases, makeView(as("alice")))).toBeUndefined();
  });

  test.each([
    ["keyMatch(r.obj, p.obj)", "/a/*", "/a/b/c", "/b"],
    ["keyMatch2(r.obj, p.obj)", "/a/:id/c", "/a/b/c", "/a/b/d/c"],
    ["keyMatch2(r.obj, p.obj)", "/a/:", "/a/:", "/a/b"],
    ["keyMatch3(r.obj, p.obj)", "/a/{id}/*", "/a/b/c/d", "/a//c"],
    ["keyMatch3(r.obj, p.obj)", "/{", "/{", "/a"],
    ["keyMatch5(r.obj, p.obj)", "/a/{id}", "/a/b", "/a/b/c"],
    ["regexMatch(r.obj, p.obj)", "^/a[0-9]+$", "/a12", "/a1b"],
    ["r.obj == '/b' && ipMatch('10.1.2.3', p.obj)", "10.0.0.0/8", "/b", "/c"],
  ])("%s with %s: %s but not %s", async (matcher, key, passes, denied) => {
    const of = conf({ model: sections(matcher), policy: `p, x, ${key}, x` });
    expect([await ask(of, as("a", passes)), (await ask(of, as("a", denied)))?.status]).toEqual([undefined, 403]);
  });

  test("two users in one request are none", async () => {
    const view = makeView(as("admin"));
    view.headers.append("x-user", "alice");
    expect((await runPhases(makeEnv().compile(authzCasbin, conf()), view))?.status).toBe(403);
  });

  test("patterns of a policy take linear time, whatever a client sends", async () => {
    const slow = conf({ model: sections("regexMatch(r.obj, p.obj)"), policy: "p, a, ^/(a+)+$, GET" });
    const startMs = performance.now();
    expect((await ask(slow, as("a", `/${"a".repeat(5_000)}!`)))?.status).toBe(403);
    expect(await ask(slow, as("a", "/aaa"))).toBeUndefined();
    expect(performance.now() - startMs).toBeLessThan(60_000);
  });

  test("model and policy in files of the node, or in the plugin's metadata", async () => {
    const folder = temporaryFolder("casbin");
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const files = { model_path: file("model", MODEL), policy_path: file("policy", POLICY), username: "X-User" };
    expect(await ask(files, as("alice"))).toBeUndefined();
    const metadata = { metadata: { "authz-casbin": { model: MODEL, policy: POLICY } } };
    expect(await ask({ username: "X-User" }, as("alice"), metadata)).toBeUndefined();
    expect((await ask({ username: "X-User" }, as("bob"), metadata))?.status).toBe(403);
    expect((await ask({ username: "X-User" }, as("alice")))?.status).toBe(503);
    expect(() => makeEnv().compile(authzCasbin, { ...files, model_path: join(folder, "none") })).toThrow("ENOENT");
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const odd of [pipe, folder, "/dev/zero"])
      expect(() => makeEnv().compile(authzCasbin, { ...files, model_path: odd })).toThrow(
        `${odd} is not a regular file`,
      );
  });

  test("one policy on many routes is held once", () => {
    const env = makeEnv();
    const both = [env.compile(authzCasbin, conf()), env.compile(authzCasbin, conf({ username: "X-Other" }))];
    expect(env.heldStates).toBe(1);
    for (const phases of both) phases.close?.();
    expect(env.heldStates).toBe(0);
  });

  test.each([
    "keyMatch['__defineGetter__']('toString', 1)",
    "!(bogus)(r.obj)",
    "!(keyMatch)['x'](r.obj)",
    "(r.sub == 'a' ? keyMatch : keyMatch)(r.obj, p.obj)",
    "r.sub['x'] == 'a'",
    "this.x",
    "this == 1",
    '("a").constructor',
    "toString == 1",
    "!r.nobody",
    "!r2.sub",
    "constructor(r.sub, p.sub)",
    "toString()",
    "g2(r.sub, p.sub)",
    "true keyMatch",
    "[r.sub, this.x] == 'a'",
    "r.sub in ['a', bogus(r.obj)]",
    "r.sub == p.sub || keyMatch(r.obj, !(bogus)(r.obj))",
    "r.sub == p.sub ? true : !bogus",
  ])("a matcher that is more than tests is refused: %s", (matcher) => {
    const before = Object.getOwnPropertyNames(Function.prototype);
    expect(() => makeEnv().compile(authzCasbin, conf({ model: sections(matcher, ROLES) }))).toThrow("the matcher ");
    expect(Object.getOwnPropertyNames(Function.prototype)).toEqual(before);
  });

  test.each([
    ["r.sub in ('alice', 'bob')", "p, x, /hello, GET"],
    ['r.sub in ("alice", "bob") || g(r.sub, p.sub)', "p, x, /hello, GET"],
    ["g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act", "p, admin, /:id, GET\ng, alice, admin"],
    ["!(r.sub != p.sub) && regexMatch(r.obj, p.obj) && (r.act == p.act || p.act == '*')", "p, alice, ^/h, *"],
    ["(r.sub == 'root' ? true : r.sub == p.sub) && keyMatch(r.obj, p.obj)", "p, alice, /*, GET"],
  ])("a matcher of tests only is taken: %s", async (matcher, policy) => {
    const of = conf({ model: sections(matcher, ROLES), policy });
    expect([await ask(of, as("alice")), (await ask(of, as("eve", "/none")))?.status]).toEqual([undefined, 403]);
  });

  test.each<[string, object, string]>([
    ["no user", { model: MODEL, policy: POLICY }, 'property "username" is required'],
    ["half of a pair", { model: MODEL, username: "u" }, "a model and its policy go together"],
    ["both pairs", conf({ model_path: "a", policy_path: "b" }), "value should match only one schema"],
    ["a model without sections", conf({ model: "nothing" }), "cannot be used"],
    ["a matcher that is none", conf({ model: sections("r.sub == = p.sub"), policy: "p, a, b, c" }), "cannot be used"],
    [
      "a function that nobody knows",
      conf({ model: sections("!nope(r.sub)"), policy: "p, a, b, c" }),
      "the matcher calls nope",
    ],
    ["a function without a bound", conf({ model: sections("globMatch(r.sub, p.sub)") }), "the matcher calls globMatch"],
    ["rules in a policy", conf({ model: sections("eval(p.sub)") }), "the matcher calls eval"],
    ["a member of a text", conf({ model: sections('"a".constructor') }), "cannot be used"],
    ["a rule's text within quotes", conf({ model: sections("r.sub == 'eval(p_sub)'") }), "the matcher calls eval"],
    ["an argument too few", conf({ model: sections("regexMatch(r.obj)") }), "it takes 2"],
    [
      "a rule with a field too few",
      conf({ policy: "p, admin, *" }),
      "line 1 of the policy has 2 fields, its definition 3",
    ],
    ["a rule of no kind", conf({ policy: "\nhello" }), "line 2 of the policy is no rule"],
    [
      "a role without roles in the model",
      conf({ model: sections("r.sub == p.sub"), policy: "g, a, b" }),
      "the model has no g",
    ],
  ])("%s is refused", (_says, of, text) => {
    expect(() => makeEnv().compile(authzCasbin, of)).toThrow(text);
  });
});
