/**
 * Settings that are read again while a process runs: which of them it can take, and which wait for a restart.
 * Promise: pure; what comes out is as whole and checked as what `readSettings` gives.
 */
import { isDeepStrictEqual } from "node:util";
import { CodedError } from "../base/errors.ts";
import { SETTING_ENTRIES } from "./setting-names.ts";
import { freeze, place } from "./settings.ts";
import { checkRole, checkSettings, type Role } from "./settings-check.ts";
import type { Settings } from "./settings-schema.ts";

interface SettingsChange {
  /** What the process is to run with from now on. */
  readonly settings: Settings;
  /** Paths of the settings that it takes anew. */
  readonly taken: readonly string[];
  /** Paths of those that have another value now, and keep the former one until a restart. */
  readonly restart: readonly string[];
}

/** @throws CodedError SETTINGS_INVALID when what would come of it contradicts itself */
export function changeSettings(role: Role, running: Settings, read: Settings): SettingsChange {
  const settings: Record<string, unknown> = {};
  const taken: string[] = [];
  const restart: string[] = [];
  for (const { path, program, facts } of SETTING_ENTRIES) {
    const [now, next] = [valueAt(running, program), valueAt(read, program)];
    const isSame = isDeepStrictEqual(now, next);
    const isTaken =
      facts.reload === "yes" || (facts.reload === "while set" && (now !== undefined) === (next !== undefined));
    if (!isSame) (isTaken ? taken : restart).push(path);
    place(settings, program, isTaken ? next : now);
  }
  // True: as in `readSettings`, every entry was placed under its program name.
  const result = freeze(settings) as unknown as Settings;
  const problems = [...checkSettings(result), ...checkRole(role, result)];
  if (problems.length > 0) throw new CodedError("SETTINGS_INVALID", { message: problems.join("\n") });
  return { settings: result, taken, restart };
}

function valueAt(settings: Settings, path: readonly string[]): unknown {
  let at: unknown = settings;
  for (const name of path) at = (at as Readonly<Record<string, unknown>>)[name];
  return at;
}
