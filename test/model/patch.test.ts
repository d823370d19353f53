import { describe, expect, test } from "vitest";
import { mergePatch, patchAt } from "../../src/model/patch.ts";

describe("merging", () => {
  const stored = { uri: "/a", upstream: { nodes: { "a:1": 1 }, type: "roundrobin" }, methods: ["GET"], plugins: {} };
  test.each([
    { says: "scalars replace", patch: { uri: "/b" }, want: { ...stored, uri: "/b" } },
    { says: "null removes", patch: { methods: null }, want: { uri: "/a", upstream: stored.upstream, plugins: {} } },
    {
      says: "objects merge",
      patch: { upstream: { nodes: { "b:1": 2 } } },
      want: { ...stored, upstream: { nodes: { "a:1": 1, "b:1": 2 }, type: "roundrobin" } },
    },
    {
      says: "null removes below",
      patch: { upstream: { nodes: { "a:1": null, "b:1": 2 } } },
      want: { ...stored, upstream: { nodes: { "b:1": 2 }, type: "roundrobin" } },
    },
    { says: "arrays replace", patch: { methods: ["PUT"] }, want: { ...stored, methods: ["PUT"] } },
    {
      says: "an array replaces an object",
      patch: { upstream: { nodes: [{ host: "x" }] } },
      want: { ...stored, upstream: { nodes: [{ host: "x" }], type: "roundrobin" } },
    },
    {
      says: "an existing empty object is replaced",
      patch: { plugins: { a: { b: null } } },
      want: { ...stored, plugins: { a: { b: null } } },
    },
    { says: "removing what is absent is fine", patch: { nothing: null }, want: stored },
    { says: "nothing changes nothing", patch: {}, want: stored },
  ])("$says", ({ patch, want }) => {
    const before = structuredClone(stored);
    expect(mergePatch(stored, patch)).toEqual(want);
    expect(stored).toEqual(before);
  });

  test("a member called like a prototype's is a member", () => {
    const patch = JSON.parse('{"__proto__":{"admin":true},"constructor":{"x":1}}') as Record<string, unknown>;
    const merged = mergePatch({}, patch);
    expect(Object.keys(merged)).toEqual(["__proto__", "constructor"]);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
  });
});

test.each(["methods/0", "methods/3", "methods/x", "methods/4/x"])("%s is no place of the list", (path) => {
  const stored = { methods: ["GET"] };
  expect(patchAt(stored, path, "PUT")).toMatchObject({ ok: false, error: expect.stringContaining("/methods/") });
  expect(stored).toEqual({ methods: ["GET"] });
});

describe("a sub path", () => {
  const stored = { uri: "/a", methods: ["GET", "PUT"], upstream: { nodes: { "a:1": 1 } } };
  test.each([
    { path: "methods", wanted: ["POST"], want: { ...stored, methods: ["POST"] } },
    { path: "methods/2", wanted: "POST", want: { ...stored, methods: ["GET", "POST"] } },
    { path: "upstream/nodes", wanted: { "b:1": 5 }, want: { ...stored, upstream: { nodes: { "b:1": 5 } } } },
    { path: "upstream/nodes/", wanted: { "b:1": 5 }, want: { ...stored, upstream: { nodes: { "b:1": 5 } } } },
    { path: "plugins/cors/max_age", wanted: 3, want: { ...stored, plugins: { cors: { max_age: 3 } } } },
    { path: "desc", wanted: null, want: { ...stored, desc: null } },
  ])("$path is replaced", ({ path, wanted, want }) => {
    const before = structuredClone(stored);
    expect(patchAt(stored, path, wanted)).toEqual({ ok: true, value: want });
    expect(stored).toEqual(before);
  });

  test.each([
    { path: "uri/x", error: "invalid sub-path: /uri" },
    { path: "upstream/nodes/a:1/x/y", error: "invalid sub-path: /upstream/nodes/a:1" },
  ])("$path goes through a scalar", ({ path, error }) => {
    expect(patchAt(stored, path, 1)).toEqual({ ok: false, error });
  });

  test("a path through a prototype makes a member and no more", () => {
    patchAt(stored, "__proto__/polluted", 1);
    patchAt(stored, "constructor/prototype/polluted", 1);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});
