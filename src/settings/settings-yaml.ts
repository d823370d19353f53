/**
 * Reads settings from a YAML file: the same tree as the schema, every problem with its line.
 * Promise: no message repeats text of the file beyond the names of members, since values may be secrets.
 */
import { isAlias, isMap, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import { didYouMean } from "../base/suggest.ts";
import { SETTING_GROUPS, SETTING_NAMES } from "./setting-names.ts";
import type { Given, SourceRead } from "./settings-arguments.ts";

const ALIASES_MAX = 100; // far more than a person writes; bounds what a hostile file can expand to

/** @param file the name of the file, for messages */
export function readYaml(source: string, file: string): SourceRead {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, strict: true });
  const given: Given[] = [];
  const problems: string[] = [];
  const at = (offset: number | undefined): string => `${file} line ${lines.linePos(offset ?? 0).line}`;
  // Only the code of an error is shown: its text can hold a piece of the file.
  for (const error of document.errors) {
    problems.push(`${at(error.pos[0])}: not valid YAML (${error.code.toLowerCase().replaceAll("_", " ")})`);
  }
  if (problems.length > 0) return { given, config: undefined, problems };

  const walk = (node: unknown, parent: string): void => {
    const map = isAlias(node) ? node.resolve(document) : node;
    if (!isMap(map)) {
      if (isScalar(map) && map.value === null) return;
      const what = parent === "" ? "the file" : parent;
      problems.push(`${at((node as Node | null)?.range?.[0])}: ${what} must be a mapping of settings`);
      return;
    }
    for (const { key, value } of map.items) {
      const name = isScalar(key) ? String(key.value) : "";
      const path = parent === "" ? name : `${parent}.${name}`;
      const where = at((key as Node).range?.[0]);
      const known = SETTING_NAMES.get(path);
      const isGroup = SETTING_GROUPS.some((group) => group.path === path);
      const target = isAlias(value) ? value.resolve(document) : value;
      if (isScalar(target) && target.value === null) continue; // `key:` with nothing behind it is not given
      if (isGroup && (isMap(target) || !known)) walk(value, path);
      else if (!known) problems.push(`${where}: unknown setting ${path}${didYouMean(path, candidates())}`);
      else given.push({ ...known, input: plain(value, `${where}: ${path}`), origin: `${where}: ${path}` });
    }
  };
  const plain = (value: unknown, origin: string): unknown => {
    try {
      return (value as Node | null)?.toJS(document, { maxAliasCount: ALIASES_MAX });
    } catch {
      problems.push(
        `${origin}: refers to an anchor (*) that is not there, or to too many; quote text that begins with *`,
      );
      return undefined;
    }
  };
  if (document.contents !== null) walk(document.contents, "");
  return { given, config: undefined, problems };
}

function candidates(): readonly string[] {
  return [...SETTING_NAMES.keys(), ...SETTING_GROUPS.map((group) => group.path)];
}
