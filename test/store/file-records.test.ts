// biome-ignore-all lint/suspicious/noTemplateCurlyInString: texts of files hold variables
/**
 * Files of configuration as records: what is read, and that every fault says file, line and member.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { KINDS } from "../../src/model/kinds.ts";
import { faultText, readDocument } from "../../src/store/file/file-document.ts";
import { FaultPlaces, readRecords, readTexts } from "../../src/store/file/file-records.ts";

const ENVIRONMENT = { HOST: "10.0.0.1", PORT: "8080", ON: "true", WORD: "007" };

function read(text: string, environment = ENVIRONMENT) {
  return readRecords([{ file: "gateway.yaml", text }], { environment, passphrase: undefined });
}

function faults(text: string): readonly string[] {
  return read(text).faults.map(faultText);
}

function valueIn(text: string): unknown {
  return readDocument(text, "gateway.yaml", ENVIRONMENT).value;
}

test("each kind of the model is read by its directory, with the id that keys have", () => {
  for (const kind of Object.values(KINDS)) {
    const id = { id: "one", username: "one", plugin: "one", manager: "one/two" }[kind.id];
    const [given, wanted] = kind.name === "credential" ? ["jack/credentials/one", "jack/credentials/one"] : [id, id];
    const item = kind.id === "username" ? { username: given } : { id: given, desc: "d" };
    const { records, faults: none } = read(JSON.stringify({ [kind.dir]: [item] }));
    expect([none, records.map((one) => [one.kind.name, one.id])]).toEqual([[], [[kind.name, wanted]]]);
  }
});

test("credentials stand among consumers, times are the server's, numbers are ids, #END is a comment", () => {
  const { records } = read(`consumers:
  - {username: jack, create_time: 1, update_time: 2}
  - {id: jack/credentials/c1, plugins: {key-auth: {key: k}}}
routes:
  - {id: 7, uri: /a}
#END`);
  expect(records.map(({ kind, id, value, line }) => [kind.name, id, value, line])).toEqual([
    ["consumer", "jack", { username: "jack" }, 2],
    ["credential", "jack/credentials/c1", { id: "c1", plugins: { "key-auth": { key: "k" } } }, 3],
    ["route", "7", { id: "7", uri: "/a" }, 5],
  ]);
});

test("one mistake that the parser meets twice is said once, and an unknown plugin is named by its place", () => {
  expect(faults("routes: [\n  {id: 1, uri: /a\n")).toEqual([
    "gateway.yaml line 3: not valid YAML or JSON (bad indent)",
  ]);
  const text = "routes:\n  - id: a\n    plugins:\n      limit-cont: {count: 1}\n";
  const [record] = read(text).records;
  const places = new FaultPlaces([{ file: "gateway.yaml", text }]);
  expect(record && faultText(places.fault(record, "unknown plugin [limit-cont]"))).toBe(
    "gateway.yaml line 4: routes[0].plugins.limit-cont: unknown plugin [limit-cont]",
  );
});

describe("values", () => {
  test.each([
    ['a: "${PORT}"', { a: "8080" }],
    ["a: ${PORT}", { a: 8080 }],
    ["a: ${ON}", { a: true }],
    ["a: ${WORD}", { a: "007" }],
    ['a: {"${HOST}:1": x}', { a: { "10.0.0.1:1": "x" } }],
    ["a: ${{PORT}}", { a: 8080 }],
    ["a: ${{missing:=5s}}", { a: "5s" }],
    ["a: $${PORT}", { a: "${PORT}" }],
    ["a: $$${PORT}", { a: "$${PORT}" }],
    ["a: ${host} $1 $host", { a: "${host} $1 $host" }],
    ["a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", { a: { b: 1, c: 2 }, d: { b: 1, c: 3 } }],
    ["a: &x {b: 1}\nc: &y {b: 2, d: 1}\ne: {<<: [*x, *y]}", { a: { b: 1 }, c: { b: 2, d: 1 }, e: { b: 1, d: 1 } }],
    [
      "a: &x [1, 2]\nb: [*x, *x]",
      {
        a: [1, 2],
        b: [
          [1, 2],
          [1, 2],
        ],
      },
    ],
  ])("%s", (text, wanted) => {
    expect(valueIn(text)).toEqual(wanted);
  });

  test("__proto__ is a name like any other", () => {
    expect(JSON.stringify(valueIn('{"__proto__": {"a": 1}}'))).toBe('{"__proto__":{"a":1}}');
  });

  test("ten thousand aliases of one anchor are read; a bomb of them is refused in little memory", () => {
    const many = `a: &x {b: 1}\nc:\n${"  - *x\n".repeat(10_000)}`;
    expect((valueIn(many) as { c: unknown[] }).c).toHaveLength(10_000);
    const levels = Array.from({ length: 12 }, (_, n) => `l${n + 1}: &l${n + 1} [${`*l${n},`.repeat(10)}]`);
    const bomb = ["l0: &l0 [1,2,3,4,5,6,7,8,9,0]", ...levels].join("\n");
    expect(faults(bomb)[0]).toMatch(/^gateway\.yaml line 7: l6.*aliases repeat more than 5000000 values/);
  });
});

describe("faults", () => {
  test.each([
    ["routes:\n  - id: 1\n   uri: /a", "gateway.yaml line 3: not valid YAML or JSON"],
    ["routes: []\nroutes: []", "gateway.yaml line 2: not valid YAML or JSON (duplicate key)"],
    ["# nothing\n", "gateway.yaml line 1: it is empty"],
    ["- a", "gateway.yaml line 1: a mapping such as"],
    ["rotes: []", "gateway.yaml line 1: rotes: there is no kind of record rotes; did you mean routes?"],
    ["routes: {a: 1}", "gateway.yaml line 1: routes: a list of records is wanted"],
    ["routes:\n  - uri: /a", "gateway.yaml line 2: routes[0]: it has no id: give it one"],
    ["routes:\n  - /a", "gateway.yaml line 2: routes[0]: a record, which is a mapping, is wanted"],
    ["routes:\n  - id: a/b", "gateway.yaml line 2: routes[0]: a/b is no id of a route: a text without a slash"],
    ["secrets:\n  - id: vault", "gateway.yaml line 2: secrets[0]: vault is no id of a secret: two names with a slash"],
    ["consumers:\n  - id: jack", "gateway.yaml line 2: consumers[0]: it has no username"],
    [
      "routes:\n  - id: 1\n    uri: /a\n  - id: '1'\n    uri: /b",
      "gateway.yaml line 4: routes[1]: route 1 stands in gateway.yaml line 2 too: keep one",
    ],
    [
      "routes:\n  - id: 1\n    plugins:\n      x:\n        key: ${NO_SUCH}",
      "gateway.yaml line 5: routes[0].plugins.x.key: the environment variable NO_SUCH is not set",
    ],
    ["a: *x", "gateway.yaml line 1: a: there is no anchor &x before it"],
    [
      "sealing: {kdf: scrypt, salt: AAAAAAAAAAAAAAAAAAAAAA}",
      "gateway.yaml line 1: sealing: secrets of this file are sealed",
    ],
  ])("%j", (text, wanted) => {
    expect(faults(text)[0]).toContain(wanted);
  });

  test("the line is that of the deepest member that the error names and the file has", () => {
    const text =
      "routes:\n  - id: 1\n    uri: /a\n    upstream:\n      nodes:\n        a: -1\n    plugins:\n      cors: {}\n";
    const { records } = read(text);
    const places = new FaultPlaces([{ file: "gateway.yaml", text }]);
    const [record] = records;
    if (!record) throw new Error("no record");
    const at = (error: string) => {
      const { line, place } = places.fault(record, error);
      return [line, place];
    };
    expect(at('property "upstream" validation failed: property "nodes" validation failed: bad')).toEqual([
      5,
      "routes[0].upstream.nodes",
    ]);
    expect(at('failed to check the configuration of plugin cors err: property "max_age" is required')).toEqual([
      8,
      "routes[0].plugins.cors.max_age",
    ]);
    expect(at("no member at all")).toEqual([2, "routes[0]"]);
  });
});

const folder = mkdtempSync(join(tmpdir(), "jotgate-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("a folder is all of its files in the order of their names; hidden ones and others are left out", () => {
  mkdirSync(join(folder, "sub"));
  for (const name of ["b.yml", "a.yaml", "c.json", ".d.yaml", "e.txt"]) writeFileSync(join(folder, name), "{}");
  const texts = readTexts([folder]);
  expect("fault" in texts ? texts : texts.map(({ file }) => file.slice(folder.length + 1))).toEqual([
    "a.yaml",
    "b.yml",
    "c.json",
  ]);
  const missing = readTexts([join(folder, "no.yaml")]);
  expect("fault" in missing && faultText(missing.fault)).toContain("no.yaml line 1: it cannot be read: ENOENT");
  const empty = readTexts([join(folder, "sub")]);
  expect("fault" in empty && empty.fault.text).toBe("the folder holds no .yaml, .yml or .json file");
});
