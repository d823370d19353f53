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
