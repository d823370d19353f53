/**
 * The rules of the house that no linter knows: which floor may import which, that `base` has no word of the
 * domain, that every page and file a comment cites exists, and every source that the pages on the architecture name, that file names are unique enough to be read in a stack trace, that names
 * mean what docs/glossary.md says, and how long a commit's subject may be. Says file, line, rule; exits 1 when one is broken. `npm run lint` runs it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Floors by height. What stands on one floor does not meet, but for the pairs below. */
const FLOORS = [
  ["base"],
  ["model", "settings"],
  ["store", "plugin"],
  ["runtime", "plugins", "secret", "token"],
  ["sync", "cluster"],
  ["gateway", "admin", "status"],
  ["cli", "node"],
];
/** Neighbours on one floor that may be imported: `from` → `to`. */
const NEIGHBOURS = new Set(["cli>node", "node>cli"]);
/** Words of the domain that `base` must not know, as whole words of code. */
const DOMAIN = /\b(apisix|etcd|consumer|upstream|jwt|admin|gateway|credential|prometheus)\w*/i;
const LONGEST_SUBJECT = 72;
const SUBJECTS_SINCE = "52477de"; // older ones stand as they are

const problems = [];
const say = (file, line, what) => problems.push(`${file}${line > 0 ? `:${line}` : ""}  ${what}`);
const git = (...args) =>
  execFileSync("git", ["-C", ROOT, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

/** Files of the project, also outside a checkout (a packed tarball has no git; then there is nothing to hold). */
function files() {
  try {
    return git("ls-files", "-co", "--exclude-standard")
      .split("\n")
      .filter((file) => file && existsSync(join(ROOT, file)));
  } catch {
    return [];
  }
}

const height = new Map(FLOORS.flatMap((names, floor) => names.map((name) => [name, floor])));
const room = (file) => /^src\/([^/]+)\//.exec(file)?.[1];

function imports(file, line, number) {
  const found = /(?:from|import)\s*\(?\s*"(\.[^"]+)"/.exec(line)?.[1];
  const from = room(file);
  if (found === undefined || from === undefined) return;
  const to = room(normalize(join(dirname(file), found)).replaceAll("\\", "/"));
  if (to === undefined || to === from) return;
  const [low, high] = [height.get(to), height.get(from)];
  if (low === undefined || high === undefined)
    say(file, number, `floor of ${low === undefined ? to : from} unknown: add it to FLOORS`);
  else if (low > high) say(file, number, `imports point down: ${from} stands below ${to}`);
  else if (low === high && !NEIGHBOURS.has(`${from}>${to}`))
    say(file, number, `${from} and ${to} stand on one floor and do not meet`);
}

function citations(file, line, number) {
  for (const [path] of line.matchAll(/\bdocs\/[\w/-]+\.md\b/g)) {
    if (!existsSync(join(ROOT, path))) say(file, number, `cites ${path}, which does not exist`);
  }
  if (/^\s*(\/\*\*|\*|\/\/).*Sources?:/.test(line)) {
    for (const [, path] of line.matchAll(
      /(?<![\w/.-])((?:spec\/)?(?:admin-api|etcd-layout|jwt-auth|plugins|proxy|resources|routing|secrets|etcd)\.md)/g,
    )) {
      say(file, number, `cites ${path}: write docs/spec/…`);
    }
  }
}

/** The table "Names in the code": what a declared name must not be, what to say instead, where it may stand. */
function readBans() {
  const page = readFileSync(join(ROOT, "docs/glossary.md"), "utf8");
  const rows = [
    ...page.slice(page.indexOf("## Names in the code")).matchAll(/^\| `(\*?)(\w+)\*?` \| (.+?) \| ?(.*?) ?\|$/gm),
  ];
  return rows.map(([, star, name, instead, places]) => ({
    is: star === "" ? (declared) => declared === name : (declared) => wordsOf(declared).includes(name),
    instead,
    places: places.split(" ").filter(Boolean),
  }));
}

function wordsOf(name) {
  return name.split(/(?=[A-Z][a-z])|_|(?<=[a-z])(?=[A-Z])/).map((word) => word.toLowerCase().replace(/s$/, ""));
}

const DECLARED =
  /^\s*(?:export )?(?:abstract )?(?:(?:class|interface|(?:async )?function\*?|const|let|readonly) #?(\w+)\b(?!\[)|type (\w+)(?= =|<))/;
const EXPORTED_TYPE = /^export (?:abstract )?(?:class|interface|type) (\w+)/;
const bans = readBans();
const types = new Map();

function declared(file, line, number) {
  if (/^\s*(\*|\/\/|\/\*)/.test(line)) return;
  const [, other, alias] = DECLARED.exec(line) ?? [];
  const name = other ?? alias;
  const ban = name && bans.find(({ is, places }) => is(name) && !places.some((place) => file.startsWith(place)));
  if (ban) say(file, number, `${name}: say ${ban.instead} (docs/glossary.md)`);
  const type = file.startsWith("src/model/") ? undefined : EXPORTED_TYPE.exec(line)?.[1];
  const first = type && types.get(type);
  if (first) say(file, number, `type ${type} is declared in ${first} too: one name, one thing`);
  else if (type) types.set(type, file);
}

function domainWords(file, text) {
  // Comments may give an example; code may not know.
  const code = text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " ")).replace(/\/\/.*$/gm, "");
  code.split("\n").forEach((line, index) => {
    const word = DOMAIN.exec(line)?.[0];
    if (word !== undefined) say(file, index + 1, `base has no word of the domain: ${word}`);
  });
}

/** What is exported is used in another file: `export` tells what others rest on. Tests and benches count as others. */
function unusedExports(texts) {
  const users = new Map();
  for (const [file, text] of texts) {
    for (const word of new Set(text.match(/[A-Za-z_$][\w$]*/g) ?? [])) {
      if (!users.has(word)) users.set(word, new Set());
      users.get(word).add(file);
    }
  }
  const declared = /^export (?:abstract )?(?:async )?(?:const|function\*?|class|interface|type) (\w+)/gm;
  for (const [file, text] of texts) {
    if (!file.startsWith("src/") || file === "src/index.ts") continue;
    for (const [, name] of text.matchAll(declared)) {
      if (users.get(name).size === 1) say(file, 0, `nobody imports ${name}: take its export away, or the whole of it`);
    }
  }
}

/** Pages that lead through the sources. */
const GUIDES = ["docs/architecture.md", "docs/request-lifecycle.md", "docs/config-lifecycle.md", "docs/glossary.md"];

/** Each file they name is one, in the folder they name. */
function guides(all) {
  for (const page of GUIDES) {
    const lines = readFileSync(join(ROOT, page), "utf8").split("\n");
    lines.forEach((line, index) => {
      for (const [name] of line.matchAll(/(?<![\w<>*.-])[\w./-]*\w[\w.-]*\.(?:ts|mjs)\b/g))
        if (!all.some((file) => file === name || file.endsWith(`/${name}`)))
          say(page, index + 1, `there is no ${name}`);
    });
  }
}

const all = files();
guides(all);
const names = new Map();
const texts = new Map();
for (const file of all.filter((name) => /\.(ts|mjs)$/.test(name) && !name.startsWith("test/conformance/"))) {
  const text = readFileSync(join(ROOT, file), "utf8");
  text.split("\n").forEach((line, index) => {
    imports(file, line, index + 1);
    if (file.startsWith("src/")) declared(file, line, index + 1);
    if (/^(src|test|bench|scripts)\//.test(file)) citations(file, line, index + 1);
  });
  texts.set(file, text);
  if (file.startsWith("src/base/")) domainWords(file, text);
  if (file.startsWith("src/") && basename(file) !== "index.ts")
    names.set(basename(file), [...(names.get(basename(file)) ?? []), file]);
}
unusedExports(texts);
for (const [name, places] of names)
  if (places.length > 1) say(places[0], 0, `${name} stands ${places.length} times: ${places.join(", ")}`);

try {
  for (const line of git("log", "--no-merges", "--format=%h %s", `${SUBJECTS_SINCE}..HEAD`).split("\n")) {
    const subject = line.slice(line.indexOf(" ") + 1);
    if (subject.length > LONGEST_SUBJECT)
      say(line.slice(0, line.indexOf(" ")), 0, `subject of ${subject.length} characters; at most ${LONGEST_SUBJECT}`);
  }
} catch {
  // A shallow clone or a tarball does not know the base: nothing to compare.
}

for (const problem of problems) console.error(problem);
console.log(problems.length === 0 ? "The house is in order." : `${problems.length} rules broken.`);
process.exitCode = problems.length === 0 ? 0 : 1;
