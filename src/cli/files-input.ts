/**
 * What `jotgate validate`, `diff`, `apply` and `dump` have in common: their arguments, the settings they need, and the files.
 * Exit codes of these commands are for CI: 0 the same or done, 2 differs, 1 anything wrong.
 */
import { readFileSync } from "node:fs";
import { isCodedError, messageOf } from "../base/errors.ts";
import { didYouMean } from "../base/suggest.ts";
import { readSettings, type Settings } from "../settings/settings.ts";
import { faultText } from "../store/file/file-document.ts";
import { FaultPlaces, type FileRecord, readRecords, readTexts } from "../store/file/file-records.ts";
import type { CommandIo } from "./command-io.ts";

export const EXIT_SAME = 0;
export const EXIT_WRONG = 1;
export const EXIT_DIFFERS = 2;

interface OptionNames {
  readonly valued: readonly string[];
  readonly switches: readonly string[];
}

interface FilesArguments {
  readonly paths: readonly string[];
  /** The last value of each; switches are "". */
  readonly options: ReadonlyMap<string, string>;
  readonly settings: Settings;
}

/** Says what is wrong and returns undefined. Settings come from `--config` and the environment. */
export function readFilesArguments(
  args: readonly string[],
  { valued, switches }: OptionNames,
  usage: string,
  io: CommandIo,
): FilesArguments | undefined {
  const paths: string[] = [];
  const options = new Map<string, string>();
  const all = [...valued, ...switches, "--config"];
  const wrong = (text: string): undefined => void io.complain(`${text}\n${usage}`);
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? "";
    if (!argument.startsWith("-")) {
      paths.push(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const name = equals < 0 ? argument : argument.slice(0, equals);
    if (!all.includes(name)) return wrong(`there is no option ${name}${didYouMean(name, all)}`);
    const isSwitch = switches.includes(name);
    const value = isSwitch ? "" : equals < 0 ? args[++at] : argument.slice(equals + 1);
    if (value === undefined || (isSwitch && equals >= 0))
      return wrong(`${name} ${isSwitch ? "takes no" : "needs a"} value`);
    options.set(name, value);
  }
  const config = options.get("--config");
  try {
    const argv = config === undefined ? [] : ["--config", config];
    const settings = readSettings({ argv, env: io.env, readFile: (path) => readFileSync(path, "utf8") });
    return { paths, options, settings };
  } catch (error) {
    if (!isCodedError(error, "SETTINGS_INVALID")) throw error;
    return void io.complain(messageOf(error));
  }
}

interface ReadFiles {
  readonly records: readonly FileRecord[];
  readonly places: FaultPlaces;
}

const FAULTS_SAID_MAX = 100;

/** All records of the files; says what is wrong with them and returns undefined. */
export function readFiles(paths: readonly string[], settings: Settings, io: CommandIo): ReadFiles | undefined {
  const texts = readTexts(paths);
  if ("fault" in texts) return void complainOf([faultText(texts.fault)], io);
  const { records, faults, notes } = readRecords(texts, { environment: io.env, passphrase: settings.passphrase });
  for (const note of notes) io.complain(note);
  if (faults.length > 0) return void complainOf(faults.map(faultText), io);
  return { records, places: new FaultPlaces(texts) };
}

export function complainOf(faults: readonly string[], io: CommandIo): void {
  for (const fault of faults.slice(0, FAULTS_SAID_MAX)) io.complain(fault);
  if (faults.length > FAULTS_SAID_MAX) io.complain(`and ${faults.length - FAULTS_SAID_MAX} more`);
}

/** `12 routes, 1 upstream` */
export function countsOf(records: readonly Pick<FileRecord, "kind">[]): string {
  const counts = new Map<string, number>();
  for (const { kind } of records) counts.set(kind.dir, (counts.get(kind.dir) ?? 0) + 1);
  return [...counts].map(([dir, count]) => `${count} ${dir}`).join(", ") || "nothing";
}
