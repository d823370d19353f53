/**
 * The names under which each setting can be given, all derived from its path in the tree:
 * `gateway.tls.min_version`, `--gateway-tls-min-version`, `JOTGATE_GATEWAY_TLS_MIN_VERSION`.
 * Promise: no two settings share a name (checked when this file loads).
 */
import type { TObject, TProperties, TSchema } from "typebox";
import { programName, type SettingDefinition } from "./setting.ts";
import { SettingsSchema } from "./settings-schema.ts";

export interface SettingEntry {
  /** The YAML path. */
  readonly path: string;
  /** The path in the program's object. */
  readonly program: readonly string[];
  readonly facts: SettingDefinition;
}

/** What one name stands for. */
export interface SettingName {
  readonly entry: SettingEntry;
  /** The value is the path of a file that holds the setting. */
  readonly fromFile: boolean;
}

interface SettingGroup {
  readonly path: string;
  readonly description: string;
}

const entries: SettingEntry[] = [];
const groups: SettingGroup[] = [];
const names = new Map<string, SettingName>();

collect(SettingsSchema, "", []);

/** Every setting, in the order of the schema. */
export const SETTING_ENTRIES: readonly SettingEntry[] = entries;
export const SETTING_GROUPS: readonly SettingGroup[] = groups;

/** YAML path → setting; aliases and `…_file` names included. */
export const SETTING_NAMES: ReadonlyMap<string, SettingName> = names;

/** The setting that a flag (without its dashes) names. */
export const FLAG_NAMES: ReadonlyMap<string, SettingName> = new Map(
  [...names].map(([path, name]) => [flagOf(path), name]),
);

/** The setting that a variable names. */
export const VARIABLE_NAMES: ReadonlyMap<string, SettingName> = new Map(
  [...names].map(([path, name]) => [variableOf(path), name]),
);

export const VARIABLE_PREFIX = "JOTGATE_";

/** The flag of a path, without the leading dashes. */
export function flagOf(path: string): string {
  return path.replace(/[._]/g, "-");
}

export function variableOf(path: string): string {
  return `JOTGATE_${path.replaceAll(".", "_").toUpperCase()}`;
}

function collect(tree: TObject, parent: string, program: readonly string[]): void {
  for (const [name, schema] of Object.entries(tree.properties as TProperties)) {
    const path = parent === "" ? name : `${parent}.${name}`;
    const facts = factsOf(schema);
    if (facts) {
      add({ path, program: [...program, programName(name, facts.kind.suffix)], facts });
    } else {
      groups.push({ path, description: (schema as { description?: string }).description ?? "" });
      // True: what is not a leaf was made by `group`.
      collect(schema as TObject, path, [...program, programName(name, "")]);
    }
  }
}

function factsOf(schema: TSchema): SettingDefinition | undefined {
  return (schema as { setting?: SettingDefinition }).setting;
}

function add(entry: SettingEntry): void {
  entries.push(entry);
  for (const path of [entry.path, ...entry.facts.aliases]) {
    claim(path, { entry, fromFile: false });
    if (entry.facts.secret) claim(`${path}_file`, { entry, fromFile: true });
  }
}

function claim(path: string, name: SettingName): void {
  for (const taken of names.keys()) {
    if (flagOf(taken) === flagOf(path)) throw new TypeError(`two settings share the name ${path}`);
  }
  names.set(path, name);
}

/**
 * "Did you mean …?": the known name nearest to one that was mistyped.
 */

/** @returns the nearest of `known`, or undefined when none is near: at most a third of the letters may differ. */
export function suggest(written: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(written.length / 3)) + 1;
  for (const name of known) {
    const distance = editDistance(written, name, bestDistance);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** A sentence to put behind a message, or nothing. */
export function didYouMean(written: string, known: Iterable<string>, show = (name: string): string => name): string {
  const near = suggest(written, known);
  return near === undefined ? "" : `; did you mean ${show(near)}?`;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one text into the other; capped at `limit`. */
function editDistance(from: string, to: string, limit: number): number {
  if (Math.abs(from.length - to.length) >= limit) return limit;
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1];
      let cost = Math.min((last[j] ?? limit) + 1, (row[j - 1] ?? limit) + 1, (last[j - 1] ?? limit) + (same ? 0 : 1));
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? limit) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return Math.min(last[to.length] ?? limit, limit);
}
