/**
 * Reads settings from command-line flags and from environment variables.
 * Promise: nothing is converted or judged here but the names; a mistyped name is a problem that names it, and what
 * may have been meant as its value is never repeated.
 */
import { isIP } from "node:net";
import { didYouMean } from "../base/suggest.ts";
import { SWITCH_WORDS } from "./setting-kinds.ts";
import { FLAG_NAMES, type SettingName, VARIABLE_NAMES, VARIABLE_PREFIX } from "./setting-names.ts";

/** A setting as one source gives it. */
export interface Given extends SettingName {
  readonly input: unknown;
  /** How the user named it, for messages: `--admin-listen`, `JOTGATE_ADMIN_LISTEN`, `gateway.yaml line 3: admin.listen`. */
  readonly origin: string;
}

export interface SourceRead {
  readonly given: readonly Given[];
  /** The settings file that the source asks for. */
  readonly config: string | undefined;
  readonly problems: readonly string[];
}

const CONFIG = "config";

/** Flags: `--name value`, `--name=value`, `--name` and `--no-name` for switches. */
export function readArguments(argv: readonly string[]): SourceRead {
  const given: Given[] = [];
  const problems: string[] = [];
  let config: string | undefined;
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? "";
    const equals = argument.indexOf("=");
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const next = argv[at + 1];
    const free = next !== undefined && !next.startsWith("--") ? next : undefined;
    if (!flag.startsWith("--") || flag === "--") {
      problems.push(`argument ${at + 1} is not a flag; flags begin with --`);
      continue;
    }
    const resolved = resolveFlag(flag.slice(2));
    if (resolved === undefined && flag !== `--${CONFIG}`) {
      problems.push(
        `unknown flag ${flag}${didYouMean(flag.slice(2), [...FLAG_NAMES.keys(), CONFIG], (name) => `--${name}`)}`,
      );
      if (equals < 0 && free !== undefined) at++; // its value, which may be a secret
      continue;
    }
    if (resolved?.negated) {
      given.push({ ...resolved.name, input: false, origin: flag });
      if (equals >= 0) problems.push(`${flag} takes no value`);
      continue;
    }
    const isSwitch = resolved?.name.entry.facts.kind.flag === true;
    const takesList = resolved?.name.entry.facts.kind.list === true;
    let input = equals < 0 ? undefined : argument.slice(equals + 1);
    if (input === undefined && free !== undefined && (!isSwitch || takesList || SWITCH_WORDS.includes(free))) {
      input = free;
      at++;
    }
    if (input === undefined && !isSwitch) problems.push(`${flag} needs a value`);
    else if (!resolved) config = input;
    else given.push({ ...resolved.name, input: input ?? true, origin: flag });
  }
  return { given, config, problems };
}

function resolveFlag(flag: string): { readonly name: SettingName; readonly negated: boolean } | undefined {
  const name = FLAG_NAMES.get(flag);
  if (name) return { name, negated: false };
  const opposite = flag.startsWith("no-") ? FLAG_NAMES.get(flag.slice(3)) : undefined;
  return opposite?.entry.facts.kind.flag ? { name: opposite, negated: true } : undefined;
}

/**
 * Variables that begin with JOTGATE_. An empty one counts as not given, as compose files often leave them; those that
 * Kubernetes makes for each Service (docs: "Discovering services") are no settings.
 */
export function readEnvironment(environment: Readonly<Record<string, string | undefined>>): SourceRead {
  const given: Given[] = [];
  const problems: string[] = [];
  const configVariable = `${VARIABLE_PREFIX}CONFIG`;
  for (const variable of Object.keys(environment).sort()) {
    const input = environment[variable];
    if (!variable.startsWith(VARIABLE_PREFIX) || variable === configVariable) continue;
    const name = VARIABLE_NAMES.get(variable);
    if (!name) {
      if (isServiceLink(variable, input ?? "")) continue;
      const near = didYouMean(variable, [...VARIABLE_NAMES.keys(), configVariable]);
      problems.push(`unknown environment variable ${variable}${near}`);
    } else if (input !== undefined && input !== "") given.push({ ...name, input, origin: variable });
  }
  return { given, config: environment[configVariable] || undefined, problems };
}

/** What each variable of a Service ends with, and what it then holds. */
const SERVICE_LINKS: readonly (readonly [name: RegExp, holds: (value: string) => boolean])[] = [
  [/_SERVICE_HOST$/, isAddress],
  [/_SERVICE_PORT(?:_[A-Z0-9_]+)?$/, isPort],
  [/_PORT(?:_\d{1,5}_(?:TCP|UDP|SCTP))?$/, isEndpoint],
  [/_PORT_\d{1,5}_(?:TCP|UDP|SCTP)_PROTO$/, (value) => /^(?:tcp|udp|sctp)$/.test(value)],
  [/_PORT_\d{1,5}_(?:TCP|UDP|SCTP)_PORT$/, isPort],
  [/_PORT_\d{1,5}_(?:TCP|UDP|SCTP)_ADDR$/, isAddress],
];

function isServiceLink(variable: string, value: string): boolean {
  // The prefix without its last sign: the Service may be called `jotgate`.
  const rest = variable.slice(VARIABLE_PREFIX.length - 1);
  return SERVICE_LINKS.some(([name, holds]) => name.test(rest) && holds(value));
}

function isPort(value: string): boolean {
  return /^\d{1,5}$/.test(value);
}

function isAddress(value: string): boolean {
  return isIP(value) !== 0;
}

/** `tcp://10.0.0.1:9080`, and `tcp://[fd00::1]:9080`. */
function isEndpoint(value: string): boolean {
  const [, bracketed, plain] = /^(?:tcp|udp|sctp):\/\/(?:\[([^\]]+)\]|([^\]]+)):\d{1,5}$/.exec(value) ?? [];
  return isAddress(bracketed ?? plain ?? "");
}
