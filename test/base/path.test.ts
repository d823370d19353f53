import fc from "fast-check";
import { expect, test } from "vitest";
import { escapePath, normalisePath, splitTarget } from "../../src/base/net/path.ts";

test.each([
  { says: "a plain path is its own normal form", raw: "/a/b", path: "/a/b", escaped: "/a/b" },
  { says: "an encoded slash is a slash", raw: "/a%2Fb", path: "/a/b", escaped: "/a/b" },
  { says: "doubled slashes merge", raw: "//a///b//", path: "/a/b/", escaped: "/a/b/" },
  { says: "slashes merge after decoding", raw: "/a/%2f/b", path: "/a/b", escaped: "/a/b" },
  { says: "a dot segment goes away", raw: "/a/./b", path: "/a/b", escaped: "/a/b" },
  { says: "a last dot segment leaves its slash", raw: "/a/.", path: "/a/", escaped: "/a/" },
  { says: "two dots take the segment before", raw: "/a/b/../c", path: "/a/c", escaped: "/a/c" },
  { says: "two dots at the end leave a slash", raw: "/a/b/..", path: "/a/", escaped: "/a/" },
  { says: "two dots may lead to the root", raw: "/a/..", path: "/", escaped: "/" },
  { says: "merged slashes are no segment for two dots", raw: "/a//../b", path: "/b", escaped: "/b" },
  { says: "encoded dots are dots", raw: "/a/%2e%2E/b", path: "/b", escaped: "/b" },
  { says: "three dots are a name", raw: "/a/.../b", path: "/a/.../b", escaped: "/a/.../b" },
  { says: "a hidden file is a name", raw: "/.well-known/x", path: "/.well-known/x", escaped: "/.well-known/x" },
  { says: "a double encoding is decoded once", raw: "/a%252Fb", path: "/a%2Fb", escaped: "/a%252Fb" },
  {
    says: "space, #, ? and % are escaped again",
    raw: "/a%20b%23c%3fd%25",
    path: "/a b#c?d%",
    escaped: "/a%20b%23c%3Fd%25",
  },
  { says: "UTF-8 is decoded, escaped in upper case", raw: "/%c3%a9", path: "/é", escaped: "/%C3%A9" },
  { says: "raw bytes above ASCII are UTF-8", raw: "/\u00c3\u00a9", path: "/é", escaped: "/%C3%A9" },
  { says: "letters that were encoded are not escaped again", raw: "/%61%7e", path: "/a~", escaped: "/a~" },
  { says: "plus is a plus", raw: "/a+b", path: "/a+b", escaped: "/a+b" },
  { says: "a backslash is a character", raw: "/a\\b", path: "/a\\b", escaped: "/a%5Cb" },
  {
    says: "what no URL may hold is escaped",
    raw: '/"<>^`{|}[]',
    path: '/"<>^`{|}[]',
    escaped: "/%22%3C%3E%5E%60%7B%7C%7D[]",
  },
])("$says", ({ raw, path, escaped }) => {
  expect(normalisePath(raw)).toMatchObject({ path, escapedPath: escaped, matchPath: path });
});

test.each([
  ["/.."],
  ["/../a"],
  ["/a/../../b"],
  ["/%2e%2e/"],
  ["/a%00"],
  ["/a%0a"],
  ["/a%7f"],
  ["/a\u0001"],
  ["/a b"],
  ["/a%zz"],
  ["/a%4"],
  ["/a%"],
  ["/%c3"],
  ["/%c0%af"],
  ["/%ed%a0%80"],
  ["/\u00ff"],
  ["/\u20ac"],
  ["/a/..\\b"],
  ["/a\\..\\b"],
  ["/a/..%5cb"],
  ["/a%5C.%5Cb"],
  ["/a%5c.."],
  ["/a/..;/b"],
  ["/a/..;x=1/b"],
  ["/a/.;"],
  ["/a/%2e%2e%3b/b"],
  ["/a/%252e%252e/b"],
  ["/a/%252e%252e%252fb"],
  ["/a/..%252fb"],
  ["/a/..%255cb"],
  ["/a/%25252e%25252e/b"],
  ["/a/%25%32%65%252e/b"],
  ["/a/..%253b/b"],
  ["/a%2525252525b"],
  ["/a#b"],
  ["/a?b"],
  ["a"],
  [""],
  ["*"],
])("the path %j is refused", (raw) => {
  expect(normalisePath(raw)).toBeUndefined();
});

test.each([
  { raw: "/a%2Fb", want: undefined },
  { raw: "/a%5cb", want: undefined },
  { raw: "/a\\b", want: undefined },
  { raw: "/a%252Fb", want: undefined },
  { raw: "/a%20b", want: "/a b" },
  { raw: "/a%25", want: "/a%" },
])("strict reads $raw as $want", ({ raw, want }) => {
  expect(normalisePath(raw, { strict: true })?.path).toBe(want);
});

test.each([
  { raw: "/a/", path: "/a", escaped: "/a/" },
  { raw: "/", path: "/", escaped: "/" },
  { raw: "/a", path: "/a", escaped: "/a" },
])("delete_uri_tail_slash reads $raw as $path and sends $escaped", ({ raw, path, escaped }) => {
  const want = { path, escapedPath: escaped, matchPath: path, otherPaths: [] };
  expect(normalisePath(raw, { deleteTailSlash: true })).toEqual(want);
});

test.each([
  { raw: "/a;x=1/b;y", path: "/a/b" },
  { raw: "/a/;x", path: "/a/" },
  { raw: "/a/;x/b", path: undefined },
  { raw: "/a/.;x/b", path: undefined },
  { raw: "/a/..;x/b", path: undefined },
  { raw: "/a/%252e%252e/b", path: undefined },
  { raw: "/a/.%252E;x", path: undefined },
])("like a servlet $raw is $path", ({ raw, path }) => {
  const normal = normalisePath(raw, { likeServlet: true });
  expect(normal?.path).toBe(path);
  if (normal) expect(normal.escapedPath).toBe(raw);
});

test.each([
  { raw: "/a/b", others: [] },
  { raw: "/a;x=1/b", others: ["/a/b"] },
  { raw: "/a/;/b", others: ["/a/b"] },
  { raw: "/a\\b", others: ["/a/b"] },
  { raw: "/a%252fb", others: ["/a/b"] },
  { raw: "/%2561/b", others: ["/a/b"] },
  { raw: "/a%255cb", others: ["/a\\b", "/a/b"] },
  { raw: "/a%253bx/b", others: ["/a;x/b", "/a/b"] },
  { raw: "/100%25", others: [] },
  { raw: "/50%25fee", others: ["/50\u00fee"] },
])("looser readers take $raw for $others", ({ raw, others }) => {
  expect(normalisePath(raw)?.otherPaths).toEqual(others);
});

test("an encoded slash that the router sees as such is no slash to other readers either", () => {
  expect(normalisePath("/p/g%2fn;v/x", { keepSpelling: true })?.otherPaths).toEqual(["/p/g%2Fn/x"]);
  expect(normalisePath("/p/g%2f..;v/x", { keepSpelling: true })).toBeUndefined();
});

test.each([
  { raw: "/a%2fb/c", match: "/a%2Fb/c", sent: "/a%2Fb/c" },
  { raw: "/a%2fb/../c", match: "/a/c", sent: "/a/c" },
  { raw: "/a%2f/b", match: "/a/b", sent: "/a/b" },
  { raw: "/a%2f..%2fb", match: "/b", sent: "/b" },
  { raw: "/a%20b", match: "/a b", sent: "/a%20b" },
  { raw: "/a%20%2f%25b", match: "/a %2F%b", sent: "/a%20%2F%25b" },
  { raw: "/%c3%a9%2F%c3%a9", match: "/é%2Fé", sent: "/%C3%A9%2F%C3%A9" },
])("with match_uri_encoded_slash $raw is matched as $match and sent as $sent", ({ raw, match, sent }) => {
  const normal = normalisePath(raw, { matchEncodedSlash: true });
  expect(normal?.matchPath).toBe(match);
  expect(normal?.escapedPath).toBe(sent);
  expect(normal?.path).toBe(normalisePath(raw)?.path);
});

test.each([
  { says: "escapes stay as they are spelled", raw: "/a%2Cb%3a%7E%41", sent: "/a%2Cb%3a%7E%41", match: "/a,b:~A" },
  { says: "an encoded slash stays, for the router too", raw: "/p/g%2fn/x", sent: "/p/g%2fn/x", match: "/p/g%2Fn/x" },
  { says: "a plain path is sent as it is", raw: "/a/b;c=1", sent: "/a/b;c=1", match: "/a/b;c=1" },
  { says: "what no URL may hold is escaped", raw: "/a|b%2c{c}", sent: "/a%7Cb%2c%7Bc%7D", match: "/a|b,{c}" },
  { says: "a double escape stays double", raw: "/a%252fb", sent: "/a%252fb", match: "/a%2fb" },
  {
    says: "an encoded backslash, ; and ? stay encoded",
    raw: "/a%5Cb%3bc%3Fd",
    sent: "/a%5Cb%3bc%3Fd",
    match: "/a\\b;c?d",
  },
  { says: "dot segments are resolved", raw: "/%41/../b%2Cc", sent: "/b,c", match: "/b,c" },
  { says: "encoded dot segments are resolved", raw: "/a/%2e%2E/b%2Cc", sent: "/b,c", match: "/b,c" },
  { says: "dot segments behind encoded slashes are resolved", raw: "/a%2f..%2Fb", sent: "/b", match: "/b" },
  { says: "doubled slashes are merged", raw: "/a%2c//b", sent: "/a,/b", match: "/a,/b" },
  { says: "slashes doubled by an escape are merged", raw: "/a/%2Fb%2c", sent: "/a/b,", match: "/a/b," },
  { says: "bytes above ASCII are escaped", raw: "/\u00c3\u00a9%2c", sent: "/%C3%A9,", match: "/é," },
])("with upstream_path: original, $says", ({ raw, sent, match }) => {
  const normal = normalisePath(raw, { keepSpelling: true });
  expect(normal).toMatchObject({ path: normalisePath(raw)?.path, escapedPath: sent, matchPath: match });
});

test("with upstream_path: original, what is refused by default is refused too, and strict refuses what it refuses", () => {
  for (const raw of ["/a%00", "/a%0d%0a", "/%zz", "/a%ff", "/..", "/%2e%2e/a"]) {
    expect(normalisePath(raw, { keepSpelling: true })).toBeUndefined();
  }
  expect(normalisePath("/a%2fb", { keepSpelling: true, strict: true })).toBeUndefined();
  expect(normalisePath("/a%2cb", { keepSpelling: true, strict: true })?.escapedPath).toBe("/a%2cb");
});

const SWITCHES = [
  { says: "by default", options: {} },
  { says: "with match_uri_encoded_slash", options: { matchEncodedSlash: true } },
  { says: "with upstream_path: original", options: { keepSpelling: true } },
] as const;
test.each(SWITCHES)("$says, what is sent normalises to what policy and router saw", ({ options }) => {
  const piece = fc.constantFrom(..."/ / a . .. ; \\ %2f %2F %2e %25 %2c %5c %3b %3F %20 %c3%a9".split(" "));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const normal = normalisePath(`/${pieces.join("")}`, options);
      if (!normal) return;
      const again = normalisePath(normal.escapedPath, options);
      expect(again).toEqual(normal);
      expect(normal.escapedPath).toMatch(/^\/[\w\-.~!$&'()*+,;=:@%/[\]]*$/);
      expect(new URL(`http://u${normal.escapedPath}`).pathname).toBe(normal.escapedPath);
      // Read by a server that decodes %2F before it looks for segments, or by one that does not: no dot segments.
      expect(decodeURIComponent(normal.escapedPath)).not.toMatch(/\/\/|\/\.\.?(\/|$)/);
    }),
  );
});

test("the escaped path normalises to the same path, whatever came in", () => {
  const piece = fc.constantFrom(
    "/",
    "/",
    "a",
    "b",
    ".",
    "..",
    "%2f",
    "%2e",
    "%25",
    "%20",
    "%c3%a9",
    "%3F",
    "\u00c3\u00a9",
    ";",
    "\\",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const normal = normalisePath(`/${pieces.join("")}`);
      if (!normal) return;
      expect(normal.path).not.toMatch(/\/\/|\/\.\.?(\/|$)/);
      expect(escapePath(normal.path)).toBe(normal.escapedPath);
      expect(normalisePath(normal.escapedPath)).toEqual(normal);
    }),
  );
});

test.each([
  { target: "/a?b=c?d", want: { rawPath: "/a", query: "b=c?d" } },
  { target: "/a?", want: { rawPath: "/a", query: "" } },
  { target: "/a", want: { rawPath: "/a", query: undefined } },
  { target: "/a#b", want: undefined },
  { target: "/a?b#c", want: undefined },
  { target: "http://h/a", want: undefined },
  { target: "*", want: undefined },
  { target: "", want: undefined },
])("the target $target splits into $want", ({ target, want }) => {
  expect(splitTarget(target)).toEqual(want);
});
