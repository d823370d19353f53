/**
 * Large files are read in pieces: whatever they hold, that gives the values and lines of the file as a whole.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { readDocument } from "../../src/store/file/file-document.ts";
import { cutFile } from "../../src/store/file/file-pieces.ts";
import { readRecords } from "../../src/store/file/file-records.ts";

const FILE = "gateway.yaml";

/** What the pieces of a text say together; undefined when it is not cut, or a piece is faulty. */
function assembled(text: string): { lists: Record<string, unknown>; lines: Record<string, number[]> } | undefined {
  const lists: Record<string, unknown> = {};
  const lines: Record<string, number[]> = {};
  for (const piece of cutFile(text, 0, 24) ?? []) {
    const { value, faults, lineOf } = readDocument(piece.text, FILE, {});
    if (faults.length > 0) return undefined;
    const list = (value as Record<string, unknown>)[piece.name];
    const places = Array.isArray(list) ? list.map((_, at) => lineOf([piece.name, at]) + piece.linesBefore) : [];
    lists[piece.name] = piece.at > 0 ? [...(lists[piece.name] as unknown[]), ...(list as unknown[])] : list;
    lines[piece.name] = [...(piece.at > 0 ? (lines[piece.name] ?? []) : []), ...places];
  }
  return Object.keys(lists).length > 0 ? { lists, lines } : undefined;
}

function asWhole(text: string): ReturnType<typeof assembled> {
  const { value, lineOf } = readDocument(text, FILE, {});
  const lists = value as Record<string, unknown>;
  const lines = Object.fromEntries(
    Object.entries(lists).map(([name, list]) => [
      name,
      Array.isArray(list) ? list.map((_, at) => lineOf([name, at])) : [],
    ]),
  );
  return { lists, lines };
}

const texts = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom(
    "- dash",
    "# no comment",
    "a: b",
    "two\nlines",
    "- a\n- b\n",
    "  led",
    "{",
    "]",
    "'",
    '"',
    "routes:",
    "*",
    "&a",
  ),
  fc
    .array(fc.constantFrom("routes:\n", "- id: x\n", "  - y\n", "\n", "z"), { maxLength: 5 })
    .map((parts) => parts.join("")),
);
const values = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    texts,
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.string({ maxLength: 6 }), tie("value"), { maxKeys: 3 }),
  ),
})).value;
const list = fc.array(
  fc.dictionary(fc.constantFrom("id", "uri", "desc", "plugins", "labels"), values, { maxKeys: 4 }),
  {
    maxLength: 6,
  },
);
const file = fc.record(
  { routes: list, upstreams: list, sealing: values, consumers: list },
  { requiredKeys: ["routes"] },
);

describe("what pieces say together is what the file says", () => {
  const styles: readonly [string, (value: unknown) => string][] = [
    ["YAML", (value) => stringify(value, { aliasDuplicateObjects: false })],
    ["YAML, lists indented not", (value) => stringify(value, { aliasDuplicateObjects: false, indentSeq: false })],
    [
      "YAML, quoted",
      (value) =>
        stringify(value, {
          aliasDuplicateObjects: false,
          defaultKeyType: "PLAIN",
          defaultStringType: "QUOTE_DOUBLE",
          lineWidth: 20,
        }),
    ],
    [
      "YAML, flows inside",
      (value) =>
        stringify(value, {
          aliasDuplicateObjects: false,
          collectionStyle: "any",
          defaultKeyType: "PLAIN",
          defaultStringType: "QUOTE_SINGLE",
        }),
    ],
    ["JSON", (value) => JSON.stringify(value)],
    ["JSON, indented", (value) => JSON.stringify(value, undefined, 2)],
  ];
  test.for(styles)("%s", ([, write]) => {
    let cut = 0;
    fc.assert(
      fc.property(file, (records) => {
        const text = write(records);
        const together = assembled(text);
        if (together === undefined) return;
        cut++;
        expect(together).toEqual(asWhole(text));
      }),
      { numRuns: 100 },
    );
    expect(cut).toBeGreaterThan(30);
  });
});

describe("is read as a whole", () => {
  const rest = "\nroutes:\n  - id: a\n";
  test.each([
    ["a file with an anchor", `x-all: &all {a: 1}${rest}    <<: *all\n`],
    ["several documents", `---${rest}`],
    ["a list that stands twice", `routes:\n  - id: b${rest}`],
    ["a dash further left", "routes:\n    - id: a\n  - id: b\n"],
    ["a name in quotes", '"routes":\n  - id: a\n'],
    ["JSON with a comment", '{"routes": [ # all\n{"id": 1}]}'],
    ["JSON that does not end", '{"routes": [{"id": 1}'],
    ["JSON with something behind it", '{"routes": []} {}'],
    ["a list at the top", "- routes\n"],
  ])("%s", (_, text) => {
    expect(cutFile(text, 0)).toBeUndefined();
  });

  test("a small file", () => {
    expect(cutFile("routes:\n  - id: a\n")).toBeUndefined();
  });
});

describe("a file of a thousand records", () => {
  const records = 1_000;
  const routes = Array.from(
    { length: records },
    (_, at) => `  - id: r${at}\n    # a comment\n    uri: /r/${at}/*\n    desc: "${"d".repeat(300)}"`,
  );
  const text = `# ours\nroutes:\n${routes.join("\n")}\nupstreams:\n- id: u\n#END\n`;
  const read = (whole: string) =>
    readRecords([{ file: FILE, text: whole }], { environment: {}, passphrase: undefined });

  test("knows the place and line of each", () => {
    expect(cutFile(text)?.length).toBeGreaterThan(2);
    const { records: all, faults } = read(text);
    expect(faults).toEqual([]);
    expect(all).toHaveLength(records + 1);
    expect(all[999]).toMatchObject({ id: "r999", line: 3 + 999 * 4, path: ["routes", 999] });
    expect(all.at(-1)).toMatchObject({ id: "u", line: 4 + records * 4, path: ["upstreams", 0] });
  });

  test("says line and member of a fault as a small file does", () => {
    const wrong = text.replace("/r/800/*", "${MISSING_VARIABLE}").replace("- id: r400\n", "- id: a/b\n");
    expect(read(wrong).faults.map(({ line, place }) => [line, place])).toEqual([[5 + 800 * 4, "routes[800].uri"]]);
    const bad = read(text.replace("- id: r400\n", "- id: a/b\n")).faults;
    expect(bad.map(({ line, place }) => [line, place])).toEqual([[3 + 400 * 4, "routes[400]"]]);
    const broken = read(text.replace('uri: /r/700/*\n    desc: "', 'uri: /r/700/*\n    desc: "" "')).faults;
    expect(broken.map(({ line }) => line)).toEqual([6 + 700 * 4]);
  });
});
