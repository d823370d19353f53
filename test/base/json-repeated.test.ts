import fc from "fast-check";
import { expect, test } from "vitest";
import { repeatedMember } from "../../src/base/json/json.ts";

test.each([
  ['{"a":1,"a":2}', "a"],
  ['{"a":1,"b":{"c":1,"c":1}}', "c"],
  ['[{"a":1},{"a":1,"x":[],"a":2}]', "a"],
  ['{"a":1,"\\u0061":2}', "a"],
  ['{"":1 , "" : 2}', ""],
  ['{"a\\"b":1,"a\\"b":2}', 'a"b'],
  ['{"a":{"b":1},"a":{"b":1}}', "a"],
  ['{"a":"x","b":["a","a"],"a":1}', "a"],
])("%s names %j twice", (text, name) => expect(repeatedMember(text)).toBe(name));

test.each([
  '{"a":{"a":{"a":1}}}',
  '[{"a":1},{"a":1}]',
  '{"a":"a","b":"a:","c":["c","c"]}',
  '{"a":"\\"a\\":1,\\"a\\":2"}',
  '{"a":1,"A":2}',
  '"a"',
  "[]",
])("%s names nothing twice", (text) => expect(repeatedMember(text)).toBeUndefined());

test("what JSON.stringify wrote never repeats, however deep and strange", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), fc.nat(4), (text, indent) => {
      expect(repeatedMember(JSON.stringify(JSON.parse(text), null, indent))).toBeUndefined();
    }),
  );
});
