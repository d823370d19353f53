import { describe, expect, test } from "vitest";
import { KINDS, type KindName } from "../../src/model/kinds.ts";
import { replaceSecrets } from "../../src/model/secret-fields.ts";

const FIELDS: Readonly<Record<string, readonly string[]>> = {
  flat: ["secret"],
  deep: ["a.b.c"],
  many: ["one", "two.three"],
};
const fields = (plugin: string, side: string): readonly string[] =>
  side === "consumer" && plugin === "flat" ? ["secret", "private_key"] : (FIELDS[plugin] ?? []);

const replaced = (kind: KindName, value: object): unknown =>
  replaceSecrets(KINDS[kind], value as Record<string, unknown>, fields, (text, place) => `<${text}@${place.path}>`);
const inPlugin = (name: string, conf: unknown): object => ({ plugins: { [name]: conf } });

describe("secrets are found", () => {
  test.each([
    {
      says: "in a member",
      conf: ["flat", { secret: "s", key: "k" }],
      want: { secret: "<s@plugins.flat.secret>", key: "k" },
    },
    {
      says: "at any depth",
      conf: ["deep", { a: { b: { c: "s" } } }],
      want: { a: { b: { c: "<s@plugins.deep.a.b.c>" } } },
    },
    {
      says: "through lists",
      conf: ["deep", { a: [{ b: [{ c: "s" }, { d: 1 }] }] }],
      want: { a: [{ b: [{ c: "<s@plugins.deep.a.b.c>" }, { d: 1 }] }] },
    },
    {
      says: "in a list of texts",
      conf: ["flat", { secret: ["s", 1, "t"] }],
      want: { secret: ["<s@plugins.flat.secret>", 1, "<t@plugins.flat.secret>"] },
    },
    {
      says: "in a map of texts",
      conf: ["flat", { secret: { x: "s", y: 2 } }],
      want: { secret: { x: "<s@plugins.flat.secret>", y: 2 } },
    },
    {
      says: "at several places",
      conf: ["many", { one: "s", two: { three: "t" } }],
      want: { one: "<s@plugins.many.one>", two: { three: "<t@plugins.many.two.three>" } },
    },
  ] as const)("$says", ({ conf: [name, conf], want }) => {
    expect(replaced("route", inPlugin(name, conf))).toEqual(inPlugin(name, want));
  });

  test.each(["route", "service", "plugin_config", "consumer_group", "global_rule"] as const)(
    "in plugins of a %s",
    (kind) => {
      expect(replaced(kind, inPlugin("flat", { secret: "s", private_key: "p" }))).toEqual(
        inPlugin("flat", { secret: "<s@plugins.flat.secret>", private_key: "p" }),
      );
    },
  );

  test.each(["consumer", "credential"] as const)("in plugins of a %s, by the consumer's list", (kind) => {
    expect(replaced(kind, inPlugin("flat", { secret: "s", private_key: "p" }))).toEqual(
      inPlugin("flat", { secret: "<s@plugins.flat.secret>", private_key: "<p@plugins.flat.private_key>" }),
    );
  });

  test("in certificates, upstreams and secret managers", () => {
    expect(replaced("ssl", { cert: "c", key: "k", keys: ["l"] })).toEqual({
      cert: "c",
      key: "<k@key>",
      keys: ["<l@keys>"],
    });
    expect(replaced("upstream", { tls: { client_cert: "c", client_key: "k" } })).toEqual({
      tls: { client_cert: "c", client_key: "<k@tls.client_key>" },
    });
    expect(replaced("route", { upstream: { tls: { client_key: "k" } } })).toEqual({
      upstream: { tls: { client_key: "<k@upstream.tls.client_key>" } },
    });
    expect(replaced("secret", { uri: "u", token: "t" })).toEqual({ uri: "u", token: "<t@token>" });
    expect(replaced("secret", { auth_config: { client_email: "e", private_key: "p" } })).toEqual({
      auth_config: { client_email: "e", private_key: "<p@auth_config.private_key>" },
    });
  });
});

describe("left alone", () => {
  test.each([
    ["a value without secrets", "route", inPlugin("flat", { key: "k" })],
    ["references", "route", inPlugin("flat", { secret: "$secret://vault/1/a/b" })],
    ["references to the environment", "route", inPlugin("flat", { secret: "$ENV://A" })],
    ["what is no text", "route", inPlugin("flat", { secret: 7 })],
    ["plugins that are none", "route", { plugins: "x" }],
    ["kinds without plugins", "proto", inPlugin("flat", { secret: "s" })],
    ["members of prototypes", "route", inPlugin("flat", Object.create({ secret: "s" }) as object)],
  ] as const)("%s: the very same object comes back", (_, kind, value) => {
    expect(replaced(kind, value)).toBe(value);
  });

  test("what is given is never changed", () => {
    const value = inPlugin("deep", { a: [{ b: { c: "s" } }] });
    const before = structuredClone(value);
    replaced("route", value);
    expect(value).toEqual(before);
  });
});
