/**
 * The words that plugins give as reasons of their answers, read from the sources of each, against its page in docs/plugins.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { TOKEN_OUTCOMES } from "../../src/plugin/judge/judge-steps.ts";
import { PLUGINS } from "../../src/plugins/index.ts";
import { REFUSALS } from "../../src/plugins/jwt-auth/outcomes.ts";
import { OPENID_OUTCOMES } from "../../src/plugins/openid-connect/openid-answers.ts";

const ROOT = join(import.meta.dirname, "../..");
const FOLDER = join(ROOT, "src/plugins");

/** Where the reason stands among the arguments of what makes answers; the first that is there. */
const MAKERS: ReadonlyMap<string, readonly number[]> = new Map(
  Object.entries({
    bareAnswer: [1],
    textAnswer: [2],
    jsonAnswer: [2],
    compileTemplatedAnswer: [1],
    "refusals.answer": [1],
    refused: [0],
    // Of authorization servers: the reason, else the error.
    errorAnswer: [4, 1],
    unavailable: [2],
  }),
);

/** What stands where a reason is computed, and the words that come out. */
const COMPUTED: Readonly<Record<string, (plugin: string) => readonly string[]>> = {
  // Handed on: the word is where the helper is called.
  reason: (plugin) => (plugin.startsWith("limit-") ? [`${plugin.replaceAll("-", "_")}_rejected`] : []),
  ["`jwt_$" + "{why}`"]: () => REFUSALS.map((why) => `jwt_${why}`),
  ["`access_token_$" + "{why}`"]: () =>
    TOKEN_OUTCOMES.filter((why) => why !== "ok" && isGiven(why)).map((why) => `access_token_${why}`),
  // It looks for no consumer.
  ["`openid_connect_$" + "{why}`"]: () =>
    OPENID_OUTCOMES.filter((why) => isGiven(why) && !["ok", "client_gone", "unknown_consumer"].includes(why)).map(
      (why) => `openid_connect_${why}`,
    ),
};

/** Some outcomes are names that are kept for later: they stand in their list and nowhere else. */
function isGiven(outcome: string): boolean {
  const judges = ["plugin/judge", "plugins/access-token", "plugins/openid-connect", "plugins/shared"].map((path) =>
    join(ROOT, "src", path),
  );
  const files = judges.flatMap((path) => readdirSync(path).map((name) => readFileSync(join(path, name), "utf8")));
  return files.join("").split(`"${outcome}"`).length > 2;
}

/** The arguments of a call as they are written. @param at behind its bracket */
function argumentsAt(text: string, at: number): readonly string[] {
  const found: string[] = [];
  let depth = 0;
  let start = at;
  for (let i = at; i < text.length; i++) {
    const char = text.charAt(i);
    if (char === '"' || char === "'" || char === "`") {
      for (i++; text[i] !== char; i++) if (text[i] === "\\") i++;
    } else if ("([{".includes(char)) depth++;
    else if (char === "," && depth === 0) {
      found.push(text.slice(start, i).trim());
      start = i + 1;
    } else if (")]}".includes(char) && --depth < 0) {
      found.push(text.slice(start, i).trim());
      break;
    }
  }
  return found.filter((one) => one !== "");
}

/** Where reasons stand in a source. */
function placesIn(text: string): readonly string[] {
  const found: string[] = [];
  for (const call of text.matchAll(/(?<!function |\.)\b((?:refusals\.)?[a-zA-Z]+)\(/g)) {
    const places = MAKERS.get(call[1] ?? "");
    if (!places) continue;
    const given = argumentsAt(text, call.index + call[0].length);
    const reason = places.flatMap((at) => given[at] ?? [])[0];
    if (reason !== undefined) found.push(reason);
  }
  // An answer that is written out.
  for (const [, reason = ""] of text.matchAll(/\bstatus: [^{}]*\breason: ("[^"]*")/g)) found.push(reason);
  if (text.includes("openRefusals(") && !text.includes("anonymousConsumer: undefined"))
    found.push('"anonymous_consumer_missing"');
  return found;
}

/** A file of plugins with all files of plugins that it imports. */
function filesOf(file: string, seen = new Set<string>()): ReadonlySet<string> {
  if (seen.has(file) || !file.startsWith(`${FOLDER}/`)) return seen;
  seen.add(file);
  for (const [, path = ""] of readFileSync(file, "utf8").matchAll(/ from "(\.[^"]+)"/g))
    filesOf(join(dirname(file), path), seen);
  return seen;
}

function reasonsOf(plugin: string): readonly string[] {
  const [flat, nested] = [join(FOLDER, `${plugin}.ts`), join(FOLDER, plugin, `${plugin}.ts`)];
  const places = [...filesOf(existsSync(flat) ? flat : nested)].flatMap((file) => placesIn(readFileSync(file, "utf8")));
  const words = places.flatMap((place) => {
    const literal = /^"([^"]*)"$/.exec(place)?.[1];
    if (literal !== undefined) return [literal];
    const computed = COMPUTED[place];
    if (!computed)
      throw new Error(`${plugin}: nobody can tell from ${place} which reasons there are; add it to COMPUTED`);
    return computed(plugin);
  });
  return [...new Set(words)].sort();
}

function listedOn(plugin: string): readonly string[] {
  const page = readFileSync(join(ROOT, `docs/plugins/${plugin}.md`), "utf8");
  const paragraph = /^Reasons in the access log: (.*?)\.$/ms.exec(page)?.[1] ?? "";
  return [...paragraph.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "").sort();
}

const names = PLUGINS.map(({ name }) => name);

describe("docs/plugins", () => {
  test.each(names)("lists the reasons of %s, and no other", (plugin) => {
    expect(listedOn(plugin)).toEqual(reasonsOf(plugin));
  });

  test.each(names)("the reasons of %s are words that a log can be searched for", (plugin) => {
    for (const reason of reasonsOf(plugin)) expect(reason).toMatch(/^[a-z][a-z0-9_]*$/);
  });
});
