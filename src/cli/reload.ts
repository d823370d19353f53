/**
 * A node that takes its settings anew: what SIGHUP makes it do, and `jotgate reload`, which asks for it and shows the outcome.
 * Promise: settings that are wrong change nothing, and neither do those that the node cannot run with; signals that come
 * while it is at it are followed by one reload more.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { instanceFolder } from "../settings/instance.ts";
import type { Settings } from "../settings/settings.ts";
import type { Role } from "../settings/settings-check.ts";
import { changeSettings } from "../settings/settings-reload.ts";
import { type CommandIo, EXIT_DONE, EXIT_FAILED } from "./command-io.ts";
import { isOurs, runningInstances } from "./pid-file.ts";
import type { RunningNode } from "./run-node.ts";

/** All was taken that a running node can take; the rest waits for a restart. */
const EXIT_RESTART = 3;

const NAME = "reload.json";
const TLS_FILES = "the files of admin.tls";

/** The last reload of a process. */
interface ReloadReport {
  readonly pid: number;
  /** How many it has begun and ended. */
  readonly begun: number;
  readonly ended: number;
  readonly error?: string;
  readonly taken: readonly string[];
  readonly restart: readonly string[];
  /** That serve now; 0 where the node is one process. */
  readonly workers: number;
}

interface Reloading {
  readonly role: Role;
  readonly settings: Settings;
  readonly node: RunningNode;
  /** The settings as flags, environment and files say now. */
  readonly readAgain: () => Settings;
}

/** @returns what a signal calls; the outcome is in the log, and in a file of the instance's folder */
export function openReloads({ role, settings, node, readAgain }: Reloading): () => void {
  const file = join(instanceFolder(role, settings), NAME);
  const { log } = node;
  let running = settings;
  let begun = 0;
  let isBusy = false;
  let isAsked = false;

  const reload = async (): Promise<Omit<ReloadReport, "pid" | "begun" | "ended">> => {
    try {
      const { settings: next, taken, restart } = changeSettings(role, running, readAgain());
      const { hasNewTls, workers } = await node.reload(next);
      running = next;
      const all = hasNewTls ? [...taken, TLS_FILES] : taken;
      log.info({ taken: all, restart, workers }, "reloaded");
      if (restart.length > 0) log.warn({ restart }, "these settings have changed and wait for a restart");
      return { taken: all, restart, workers };
    } catch (error) {
      log.error({ error: messageOf(error) }, "reload failed; all settings stay as they are");
      return { error: messageOf(error), taken: [], restart: [], workers: 0 };
    }
  };

  const run = async (): Promise<void> => {
    isBusy = true;
    let outcome: Omit<ReloadReport, "pid" | "begun" | "ended"> = { taken: [], restart: [], workers: 0 };
    do {
      isAsked = false;
      begun++;
      writeReport(file, { pid: process.pid, begun, ended: begun - 1, ...outcome });
      outcome = await reload();
      writeReport(file, { pid: process.pid, begun, ended: begun, ...outcome });
    } while (isAsked);
    isBusy = false;
  };

  return () => {
    if (isBusy) isAsked = true;
    else void run();
  };
}

function writeReport(file: string, report: ReloadReport): void {
  try {
    writeFileSync(`${file}.new`, `${JSON.stringify(report)}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  } catch {
    // A folder that cannot be written: the log has it.
  }
}

/** @returns undefined where this process has not begun one */
function readReport(folder: string, pid: number): ReloadReport | undefined {
  try {
    const report = JSON.parse(readFileSync(join(folder, NAME), "utf8")) as ReloadReport;
    return report.pid === pid ? report : undefined;
  } catch {
    return undefined;
  }
}

const STEP_MS = 50;
/** A worker has a minute to come up, and there may be many. */
const PATIENCE_MS = 600_000;
/** A node says at once that it has begun. */
const BEGIN_MS = 10_000;

/** @returns the exit code: 0 all is taken, 3 some of it waits for a restart, 1 nothing is taken, or there is nobody to ask */
export async function reloadCommand(settings: Settings, io: Pick<CommandIo, "print" | "complain">): Promise<number> {
  const fail = (text: string): number => {
    io.complain(text);
    return EXIT_FAILED;
  };
  const all = runningInstances(settings.dataDir);
  const meant = settings.instance === undefined ? all : all.filter(({ name }) => name === settings.instance);
  const [one, ...others] = meant;
  if (!one) {
    const which = settings.instance === undefined ? "no node" : `no node named ${settings.instance}`;
    return fail(`${which} is running with the data folder ${settings.dataDir} (--data-dir)`);
  }
  if (others.length > 0)
    return fail(`several nodes are running; choose one by --instance: ${meant.map(({ name }) => name).join(", ")}`);
  const { name, folder, pid } = one;
  const before = readReport(folder, pid);
  const wanted = (before?.begun ?? 0) + 1;
  try {
    process.kill(pid, "SIGHUP");
  } catch (error) {
    return fail(`process ${pid} cannot be signalled: ${messageOf(error)}`);
  }
  io.print(`told ${name} (process ${pid}) to reload`);
  const startMs = performance.now();
  for (;;) {
    const report = readReport(folder, pid);
    if (report && report.ended >= wanted) return show(report, io);
    const waitedMs = performance.now() - startMs;
    if (!isOurs(pid)) return fail(`${name} ended before it had reloaded; its log says why`);
    if (waitedMs > PATIENCE_MS || (waitedMs > BEGIN_MS && report?.begun === before?.begun))
      return fail(`${name} does not say what became of it; its log does`);
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}

function show({ error, taken, restart, workers }: ReloadReport, io: Pick<CommandIo, "print" | "complain">): number {
  if (error !== undefined) {
    io.complain(`${error}\nnothing was reloaded; all settings stay as they are`);
    return EXIT_FAILED;
  }
  io.print(taken.length > 0 ? `taken: ${taken.join(", ")}` : "no setting that can be taken has changed");
  if (workers > 0) io.print(`workers replaced: ${workers}`);
  if (restart.length === 0) return EXIT_DONE;
  io.print(`changed, but waiting for a restart: ${restart.join(", ")}`);
  return EXIT_RESTART;
}
