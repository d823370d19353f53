/**
 * Two judges look at every value: Ajv, which is fast, and the explainer, which has the words. Whatever Ajv lets through
 * the explainer must let through as well, or a value would be accepted that is refused when anything else is wrong.
 */
import { Ajv } from "ajv";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FORMATS } from "../../src/base/schema/schema-format.ts";
import { explain } from "../../src/base/schema/schema-text.ts";
import { KINDS } from "../../src/model/kinds.ts";
import { runs } from "../support/long-run.ts";

const ajv = new Ajv({
  strict: false,
  unicodeRegExp: false,
  logger: false,
  validateSchema: false,
  formats: { ...FORMATS },
});

const nodes = fc.oneof(
  fc.constant({}),
  fc.dictionary(fc.constantFrom("a:80", "[::1]:1", "x"), fc.oneof(fc.nat(3), fc.constant(-1), fc.constant("1"))),
  fc.array(
    fc.record(
      { host: fc.constantFrom("a", "a b", ""), port: fc.constantFrom(0, 1, 65_536), weight: fc.nat(2) },
      { requiredKeys: [] },
    ),
  ),
);
const scalar = fc.oneof(
  fc.constantFrom("", "a", "a b", "/x", "GET", "http", "10.0.0.1", "10.0.0.0/8", "::1", "$env://X"),
  fc.integer({ min: -1, max: 3 }),
  fc.boolean(),
  fc.constant(null),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const { value } = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: "small" }, scalar, fc.array(tie("value"), { maxLength: 3 }), tie("object")),
  object: fc.dictionary(
    fc.constantFrom(
      "id",
      "type",
      "host",
      "key",
      "active",
      "healthy",
      "interval",
      "http_statuses",
      "client_cert",
      "client_key",
      "client_cert_id",
      "connect",
      "send",
      "read",
      "name",
    ),
    tie("value"),
    { maxKeys: 4 },
  ),
}));

describe("Ajv and the explainer agree", () => {
  test.each(Object.values(KINDS).map((kind) => ({ name: kind.name, schema: kind.schema })))(
    "on $name",
    ({ schema }) => {
      const accepts = ajv.compile(schema as object);
      const names = Object.keys((schema as { properties?: object }).properties ?? { a: 1 });
      const members = Object.fromEntries(names.map((name) => [name, name === "nodes" ? nodes : value]));
      const candidate = fc.oneof(
        value,
        fc.record(members, { requiredKeys: [] }),
        fc
          .subarray(names, { maxLength: Math.min(4, names.length) })
          .chain((some) => fc.record(Object.fromEntries(some.map((name) => [name, members[name] ?? value])))),
      );
      fc.assert(
        fc.property(candidate, (one) => {
          if (accepts(one)) expect(explain(schema, one, false)).toBeUndefined();
        }),
        { numRuns: runs(150) },
      );
    },
  );
});
