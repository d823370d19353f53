/**
 * Another commit beside this one: its build, in a worktree of its own, takes turns with this build in the main cases.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { jwtRuns, linesRuns, missingRuns, pathRuns, SIGN, signRuns } from "./cases.ts";
import { type Series, series } from "./series.ts";
import { FAST, jotgateAt, ROOT, type ServerKind } from "./servers.ts";

export interface OtherBuild {
  readonly kind: ServerKind;
  stop(): void;
}

/** @param rev what git takes for a commit @throws Error when it is none, or does not build */
export function buildOther(rev: string, folder: string): OtherBuild {
  const git = (...args: string[]): string => execFileSync("git", ["-C", ROOT, ...args], { encoding: "utf8" }).trim();
  const commit = git("rev-parse", "--verify", `${rev}^{commit}`);
  const root = join(folder, "other");
  git("worktree", "add", "--detach", root, commit);
  let stands = true;
  const stop = (): void => {
    if (stands) git("worktree", "remove", "--force", root);
    stands = false;
  };
  process.on("exit", stop); // however this program ends
  try {
    symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules")); // of this commit: packages are not what is compared
    const built = spawnSync(process.execPath, ["scripts/build.mjs"], { cwd: root, encoding: "utf8" });
    if (built.status !== 0) throw new Error(`${rev} does not build: ${built.stderr}`);
  } catch (error) {
    stop();
    throw error;
  }
  const name = `jotgate at ${git("rev-parse", "--short", commit)}`;
  return { kind: jotgateAt(root, process.execPath, name, ["--workers", "1"]), stop };
}

/** Each case alone, so that only two servers are up at a time. */
export function seriesAgainst(other: ServerKind): readonly Series[] {
  const both = [FAST, other];
  return [
    pathRuns("plain", both, "/plain/x"),
    jwtRuns("jwt one token", both, 1, "HS256", {}),
    jwtRuns("jwt another token each time", both, 500, "HS256", {}),
    linesRuns("ten header lines", both),
    missingRuns(both),
    signRuns("sign", both, [SIGN]),
  ].map((runs) => series(runs[0]?.case ?? "", runs));
}
