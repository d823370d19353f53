/**
 * The command line of `npm run bench`. Pure.
 */
export interface Options {
  readonly rounds: number;
  /** Of one measured round of one server. */
  readonly seconds: number;
  /** The same for every server, before the first measured round. */
  readonly warmSeconds: number;
  readonly quick: boolean;
  /** A commit to compare with, in the main cases and nothing else; undefined: peers and aims. */
  readonly against: string | undefined;
  /** Parts of names of cases, lower case; empty: all. */
  readonly only: readonly string[];
  /** Of the files in bench/results. */
  readonly name: string;
  readonly list: boolean;
}

export const USAGE = `npm run bench -- [--quick] [--against REV] [--only CASE[,CASE]] [--rounds 3] [--seconds 3] [--warm 4] [--name latest] [--list]
  --quick   the main cases in under 3 minutes: 2 rounds of 2 s; written to bench/results/try.quick.*
  --against whether this is slower than that commit: its build and this one take turns in the main cases, 3 minutes
  --only    cases whose name contains one of these words; --list names all
  --name    results go to bench/results/NAME.{json,md,svg}`;

/** @throws Error with what is wrong and how it is meant */
export function readOptions(args: readonly string[]): Options {
  const given = new Map<string, string>();
  for (let at = 0; at < args.length; at++) {
    const flag = args[at] ?? "";
    if (flag === "--quick" || flag === "--list") {
      given.set(flag, "");
      continue;
    }
    const value = args[++at];
    if (!["--against", "--only", "--rounds", "--seconds", "--warm", "--name"].includes(flag) || value === undefined) {
      throw new Error(`what is ${flag}?\n${USAGE}`);
    }
    given.set(flag, value);
  }
  const quick = given.has("--quick");
  const against = given.get("--against");
  const short = quick || against !== undefined;
  const only = (given.get("--only") ?? "")
    .toLowerCase()
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
  return {
    rounds: positive(given, "--rounds", against !== undefined ? 7 : quick ? 2 : 3),
    seconds: positive(given, "--seconds", against !== undefined ? 1 : quick ? 2 : 3),
    warmSeconds: positive(given, "--warm", short ? 2 : 4),
    quick: quick && against === undefined,
    against,
    only,
    name: given.get("--name") ?? (against === undefined ? nameFor(quick, only) : "try.against"),
    list: given.has("--list"),
  };
}

/** A part of the cases never overwrites the results of all. */
function nameFor(quick: boolean, only: readonly string[]): string {
  if (only.length > 0) return "try.only";
  return quick ? "try.quick" : "latest";
}

function positive(given: ReadonlyMap<string, string>, flag: string, fallback: number): number {
  const text = given.get(flag);
  if (text === undefined) return fallback;
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`${flag} wants a whole number above 0, not ${text}\n${USAGE}`);
  return Number(text);
}

/** Whether a case is asked for. */
export function isWanted(name: string, only: readonly string[]): boolean {
  const lower = name.toLowerCase();
  return only.length === 0 || only.some((word) => lower.includes(word));
}
