/**
 * Reads the settings of a process: flags over environment over YAML file over defaults.
 * Promise: pure (files through `readFile`), the result is complete and frozen, every mistake is reported at once and
 * by name, and no message holds a secret.
 */
import { CodedError, messageOf } from "../base/errors.ts";
import { flagOf, SETTING_ENTRIES, type SettingEntry } from "./setting-names.ts";
import { type Given, readArguments, readEnvironment, type SourceRead } from "./settings-arguments.ts";
import { checkSettings } from "./settings-check.ts";
import type { Settings } from "./settings-schema.ts";
import { readYaml } from "./settings-yaml.ts";

export type { Settings } from "./settings-schema.ts";

interface SettingsSources {
  /** Flags only, without program and command. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Text of a file; throws when it cannot be read. */
  readonly readFile: (path: string) => string;
}

/**
 * @throws CodedError SETTINGS_INVALID with one line per problem: unknown names (with the nearest known one),
 * values of the wrong kind, settings given twice in one source, contradictions between settings
 */
export function readSettings(sources: SettingsSources): Settings {
  const flags = readArguments(sources.argv);
  const variables = readEnvironment(sources.env);
  const problems = [...flags.problems, ...variables.problems];
  const file = flags.config ?? variables.config;
  const yaml = file === undefined ? undefined : readConfig(file, sources.readFile, problems);

  const given = new Map<SettingEntry, Given>();
  for (const source of [yaml, variables, flags]) {
    if (!source) continue;
    for (const [entry, one] of gather(source, problems)) given.set(entry, one);
  }
  const settings: Record<string, unknown> = {};
  for (const entry of SETTING_ENTRIES) {
    const one = given.get(entry);
    const input = one ? (one.fromFile ? readSecret(one, sources.readFile, problems) : one.input) : undefined;
    const value = input === undefined ? defaultOf(entry) : convert(entry, input, one?.origin ?? "", problems);
    place(settings, entry.program, value);
  }
  // True: every entry of the schema was placed under its program name, read by its kind.
  const result = freeze(settings) as unknown as Settings;
  if (problems.length === 0) problems.push(...checkSettings(result));
  if (problems.length > 0) throw new CodedError("SETTINGS_INVALID", { message: problems.join("\n") });
  return result;
}

function readConfig(file: string, readFile: SettingsSources["readFile"], problems: string[]): SourceRead | undefined {
  let source: string;
  try {
    source = readFile(file);
  } catch (error) {
    problems.push(`the settings file ${file} cannot be read: ${messageOf(error)}`);
    return undefined;
  }
  const read = readYaml(source, file);
  problems.push(...read.problems);
  return read;
}

/** The settings of one source; a repeated list flag adds to the list, anything else given twice is a problem. */
function gather(source: SourceRead, problems: string[]): ReadonlyMap<SettingEntry, Given> {
  const given = new Map<SettingEntry, Given>();
  for (const one of source.given) {
    const before = given.get(one.entry);
    if (!before) given.set(one.entry, one);
    else if (one.entry.facts.kind.list && before.origin === one.origin) {
      given.set(one.entry, { ...one, input: [before.input, one.input].flat() });
    } else
      problems.push(
        `${one.origin}: ${one.entry.path} is given twice${before.origin === one.origin ? "" : `, also as ${before.origin}`}`,
      );
  }
  return given;
}

function readSecret(one: Given, readFile: SettingsSources["readFile"], problems: string[]): unknown {
  try {
    return readFile(String(one.input)).replace(/\r?\n$/, "");
  } catch {
    // Neither the path nor the system's message is repeated: somebody may have put the secret itself here.
    problems.push(`${one.origin}: the file cannot be read`);
    return undefined;
  }
}

function convert(entry: SettingEntry, input: unknown, origin: string, problems: string[]): unknown {
  const { kind, secret, switchable } = entry.facts;
  if (switchable && (input === "off" || input === false)) return undefined;
  const value = kind.read(input);
  if (value === undefined) {
    const got = secret ? "" : `, got ${shorten(input)}`;
    problems.push(`${origin}: expected ${kind.wants}${switchable ? ", or off" : ""}${got}`);
  }
  return value;
}

function defaultOf(entry: SettingEntry): unknown {
  const { kind, defaultText, switchable } = entry.facts;
  if (defaultText === undefined || (switchable && defaultText === "off")) return undefined;
  const value = kind.read(defaultText);
  if (value === undefined) throw new TypeError(`the default of --${flagOf(entry.path)} is not of its own kind`);
  return value;
}

function shorten(input: unknown): string {
  // Somebody may have written a user and password into an address.
  const written = (JSON.stringify(input) ?? "nothing").replace(/\/\/[^"]*@/g, "//***@");
  return written.length > 80 ? `${written.slice(0, 77)}...` : written;
}

/** @param path the setting's in the program's object */
export function place(settings: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = settings;
  for (const name of path.slice(0, -1)) {
    at[name] ??= {};
    at = at[name] as Record<string, unknown>;
  }
  at[path.at(-1) ?? ""] = value;
}

export function freeze<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null) return value;
  for (const member of Object.values(value)) freeze(member);
  return Object.freeze(value);
}

/** The environment this process was started with; it holds secrets, so it is handed only to who resolves references. */
export function processEnvironment(): Readonly<Record<string, string | undefined>> {
  return process.env;
}
