import { Type } from "typebox";
import { describe, expect, test } from "vitest";
import { Defaulted, definePlugin, type PhaseHandler, type PluginPhases } from "../../src/plugin/plugin.ts";
import { type Answer, jsonAnswer, textAnswer } from "../../src/plugin/plugin-answer.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { compilePipeline, EMPTY_PIPELINE, mergePlugins } from "../../src/runtime/plugins/pipeline.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { openPluginSet, type PluginHost, type PluginSet } from "../../src/runtime/plugins/plugin-unit.ts";
import { SecretUsers } from "../../src/runtime/plugins/secret-source.ts";
import { openSecrets } from "../../src/secret/resolver.ts";
import { runPhase } from "./run-phase.ts";

/** A plugin whose phases a test writes down; it adds its name to the note "ran". */
function plugin(name: string, priority: number, phases: () => PluginPhases = () => noting(name)) {
  return definePlugin({
    name,
    version: 1,
    priority,
    schema: Type.Object({ x: Type.Optional(Type.Integer()) }),
    compile: phases,
  });
}

function noting(name: string): PluginPhases {
  const note = (view: Parameters<PhaseHandler>[0]): undefined => {
    view.setNote("ran", [...((view.note("ran") as string[] | undefined) ?? []), name]);
    return undefined;
  };
  return { rewrite: note, access: note, log: note };
}

function setOf(plugins: readonly ReturnType<typeof plugin>[], confs: Record<string, unknown>): PluginSet {
  const env = makeEnv();
  const secrets = openSecrets({ environment: {}, clock: env.clock, log: env.log, metrics: env.metrics });
  const host: PluginHost = {
    registry: openPluginRegistry(plugins),
    env,
    secrets: new SecretUsers(secrets),
    mayBeMissing: () => false,
    metadataVersion: () => 0,
    failed: (_resource, name, reason) => env.log.error({ name, reason }, "failed"),
    upstream: () => ({ choose: () => ({ kind: "none" }), close: () => undefined }),
  };
  return openPluginSet(confs, { kind: "route", id: "r" }, host);
}

const run = async (handlers: readonly PhaseHandler[], target = "/") => {
  const view = makeView({ target });
  const answer = await runPhase(handlers, view);
  return { answer, ran: view.note("ran") ?? [] };
};

describe("order", () => {
  const plugins = [plugin("low", 1), plugin("high", 9), plugin("also-high", 9)];
  test.each([
    {
      says: "higher priority runs first, equal ones by name",
      confs: { low: {}, high: {}, "also-high": {} },
      want: ["also-high", "high", "low"],
    },
    {
      says: "_meta.priority moves a plugin",
      confs: { low: { _meta: { priority: 10 } }, high: {} },
      want: ["low", "high"],
    },
    {
      says: "_meta.disable leaves a plugin out",
      confs: { low: {}, high: { _meta: { disable: true } } },
      want: ["low"],
    },
  ])("$says", async ({ confs, want }) => {
    expect((await run(compilePipeline(setOf(plugins, confs)).access)).ran).toEqual(want);
  });

  test("the last layer that has a plugin gives its configuration, others add theirs", async () => {
    const base = setOf(plugins, { low: { _meta: { priority: 100 } }, high: {} });
    const over = setOf(plugins, { low: {}, "also-high": {} });
    expect((await run(compilePipeline(mergePlugins([base, over])).rewrite)).ran).toEqual(["also-high", "high", "low"]);
  });

  test("nothing to do is one frozen object", () => {
    expect(compilePipeline([])).toBe(EMPTY_PIPELINE);
    expect(Object.isFrozen(EMPTY_PIPELINE.access)).toBe(true);
  });
});

describe("_meta.filter", () => {
  const filtered = (filter: unknown, name = "one") => setOf([plugin(name, 1)], { [name]: { _meta: { filter } } });

  test("a filter that does not hold skips every phase", async () => {
    const pipeline = compilePipeline(filtered([["arg_a", "==", "1"]]));
    expect((await run([...pipeline.rewrite, ...pipeline.access], "/?a=1")).ran).toEqual(["one", "one"]);
    expect((await run([...pipeline.rewrite, ...pipeline.access], "/?a=2")).ran).toEqual([]);
  });

  test("is tested once per request", async () => {
    const pipeline = compilePipeline(filtered([["arg_a", "==", "1"]]));
    const view = makeView({ target: "/?a=1" });
    await runPhase(pipeline.rewrite, view);
    view.query = "a=2";
    await runPhase(pipeline.access, view);
    expect(view.note("ran")).toEqual(["one", "one"]);
  });

  test("waits for the body when it needs it", async () => {
    const pipeline = compilePipeline(filtered([["post_arg_a", "==", "1"]]));
    const view = makeView({
      method: "POST",
      body: "a=1",
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    const result = runPhase(pipeline.access, view);
    expect(result).toBeInstanceOf(Promise);
    await result;
    expect(view.note("ran")).toEqual(["one"]);
  });

  test("holds for header filters too", () => {
    const plugins = [
      plugin("one", 1, () => ({ headerFilter: (_view, response) => response.headers.set("X-One", "1") })),
    ];
    const pipeline = compilePipeline(setOf(plugins, { one: { _meta: { filter: [["arg_a", "==", "1"]] } } }));
    const response = makeResponse();
    for (const filter of pipeline.headerFilter) filter(makeView({ target: "/?a=2" }), response);
    expect(response.headers.get("x-one")).toBeUndefined();
    for (const filter of pipeline.headerFilter) filter(makeView({ target: "/?a=1" }), response);
    expect(response.headers.get("x-one")).toBe("1");
  });
});

describe("_meta.error_response", () => {
  test.each<{ says: string; made: Answer; response: unknown; body: unknown }>([
    { says: "a text replaces the body of a refusal", made: textAnswer(403, "no", "x"), response: "mine", body: "mine" },
    {
      says: "an object is sent as a line of JSON",
      made: jsonAnswer(401, {}, "x"),
      response: { message: "mine" },
      body: '{"message":"mine"}\n',
    },
    { says: "an answer below 400 stays", made: textAnswer(302, "go", "x"), response: "mine", body: "go" },
  ])("$says", async ({ made, response, body }) => {
    for (const phases of [{ access: () => made }, { access: () => Promise.resolve(made) }]) {
      const plugins = [plugin("one", 1, () => phases)];
      const pipeline = compilePipeline(setOf(plugins, { one: { _meta: { error_response: response } } }));
      const { answer } = await run(pipeline.access);
      expect(answer).toMatchObject({ status: made.status, body, headers: made.headers, reason: made.reason });
    }
  });
});

describe("the registry", () => {
  const strict = definePlugin({
    name: "strict",
    version: 2,
    priority: 5,
    schema: Type.Object({
      count: Type.Integer({ minimum: 1 }),
      mode: Defaulted(Type.String({ default: "a", pattern: "^[ab]$" })),
    }),
    metadataSchema: Type.Object({ size: Type.Integer() }),
    check: (conf) => (conf.mode === "a" ? undefined : "mode must be a"),
    credential: {
      schema: Type.Object({ key: Type.String({ minLength: 3 }) }),
      keyAttribute: "key",
      compile: () => undefined,
    },
    compile: () => ({}),
  });
  const registry = openPluginRegistry([plugin("plain", 1), strict]);
  const prefix = "failed to check the configuration of plugin strict err: ";

  test.each([
    { says: "a good configuration", conf: { count: 1 }, want: undefined },
    {
      says: "a schema error",
      conf: { count: 0 },
      want: `${prefix}property "count" validation failed: expected 0 to be at least 1`,
    },
    { says: "a missing member", conf: {}, want: `${prefix}property "count" is required` },
    {
      says: "a rule of the plugin, which sees defaults",
      conf: { count: 1, mode: "b" },
      want: `${prefix}mode must be a`,
    },
    { says: "no object", conf: "x", want: 'invalid plugin conf "x" for plugin [strict]' },
    { says: "null", conf: null, want: "invalid plugin conf null for plugin [strict]" },
    {
      says: "unknown _meta",
      conf: { count: 1, _meta: { x: 1 } },
      want: `${prefix}property "_meta" validation failed: additional properties forbidden, found x`,
    },
    {
      says: "_meta of the wrong type",
      conf: { count: 1, _meta: { disable: 1 } },
      want: `${prefix}property "_meta" validation failed: property "disable" validation failed: wrong type: expected boolean, got number`,
    },
    {
      says: "Lua",
      conf: { count: 1, _meta: { pre_function: "x" } },
      want: `${prefix}'_meta.pre_function' is Lua, which is not supported`,
    },
    {
      says: "a bad filter",
      conf: { count: 1, _meta: { filter: [["a", "=", 1]] } },
      want: "failed to validate the 'vars' expression: invalid operator '='",
    },
    { says: "anything at all that is disabled", conf: { _meta: { disable: true } }, want: undefined },
  ])("answers $says", ({ conf, want }) => {
    expect(registry.check("strict", conf, "route")).toBe(want);
  });

  test.each([
    { side: "consumer", conf: { key: "abc" }, want: undefined },
    { side: "consumer", conf: { key: "$secret://vault/1/a/b" }, want: undefined },
    { side: "consumer", conf: { key: "$env://X" }, want: undefined },
    { side: "consumer", conf: {}, want: `${prefix}property "key" is required` },
    {
      side: "metadata",
      conf: { size: "x" },
      want: 'property "size" validation failed: wrong type: expected integer, got string',
    },
    { side: "metadata", conf: { size: 1 }, want: undefined },
  ] as const)("checks $conf on the $side side", ({ side, conf, want }) => {
    expect(registry.check("strict", conf, side)).toBe(want);
  });

  test("unknown plugins are refused on write and let through on read", () => {
    expect(registry.checkAll({ nosuch: {} }, "route", "write")).toBe("unknown plugin [nosuch]");
    expect(registry.checkAll({ nosuch: {}, strict: {} }, "route", "read")).toBe(
      `${prefix}property "count" is required`,
    );
    expect(registry.checkAll({ nosuch: {} }, "route", "read")).toBeUndefined();
  });

  test("tells names by priority and schemas with _meta", () => {
    expect(registry.names).toEqual(["strict", "plain"]);
    expect(registry.schema("strict", "route")).toHaveProperty("properties._meta.properties.disable");
    expect(registry.schema("plain", "consumer")).toBeUndefined();
    expect(registry.schema("strict", "metadata")).toHaveProperty("properties.size");
    expect(() => openPluginRegistry([strict, strict])).toThrow(TypeError);
  });
});
