/**
 * Runs a node until it is told to stop: SIGTERM, SIGINT and SIGQUIT drain it, a second one ends the process at once,
 * SIGHUP has it take its settings anew.
 * Promise: whatever way the node ends, the listeners on signals and the file with the process id are gone.
 */
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { instanceFolder } from "../settings/instance.ts";
import type { Settings } from "../settings/settings.ts";
import type { Role } from "../settings/settings-check.ts";
import { EXIT_FAILED } from "./command-io.ts";
import { writePidFile } from "./pid-file.ts";
import { openReloads } from "./reload.ts";

/** A node that was started. */
export interface RunningNode {
  readonly log: Log;
  /** Drains and ends; idempotent. */
  stop(reason: string): Promise<void>;
  /**
   * Runs with these settings from now on, which differ in what can change without a restart; replaces its workers.
   * @returns what of it cannot be seen in the settings. @throws what is wrong; all is as before then
   */
  reload(settings: Settings): Promise<{ readonly hasNewTls: boolean; readonly workers: number }>;
  /** The exit code, once the node ended. */
  readonly done: Promise<number>;
}

type StartNode = (options: {
  readonly role: Role;
  readonly settings: Settings;
  readonly print: (text: string) => void;
}) => Promise<RunningNode>;

/** The part of `process` that brings signals. */
export interface Signals {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  exit(code: number): void;
}

interface RunOptions {
  readonly start: StartNode;
  /** The settings as flags, environment and files say when it is called. */
  readonly readAgain: () => Settings;
  readonly signals: Signals;
  readonly print: (text: string) => void;
  readonly complain: (text: string) => void;
  /** A signal that arrives again within this time is the same one, delivered twice. */
  readonly echoMs: number;
}

const SIGNAL_EXIT: Readonly<Partial<Record<NodeJS.Signals, number>>> = { SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 };
const STOP_SIGNALS = ["SIGINT", "SIGQUIT", "SIGTERM"] as const;

/** @returns the exit code; 1 when the node could not start */
export async function runNode(role: Role, settings: Settings, options: RunOptions): Promise<number> {
  const { signals, print, complain } = options;
  let node: RunningNode | undefined;
  let stopping: string | undefined;
  let stoppingSince = 0;
  const onStop = (signal: NodeJS.Signals): void => {
    if (stopping !== undefined) {
      if (performance.now() - stoppingSince >= options.echoMs) signals.exit(SIGNAL_EXIT[signal] ?? EXIT_FAILED);
      return;
    }
    stopping = signal;
    stoppingSince = performance.now();
    if (node) stop(node, signal);
  };
  let reload: (() => void) | undefined;
  let isReloadAsked = false;
  const onReload = (): void => {
    if (reload) reload();
    else isReloadAsked = true;
  };
  for (const signal of STOP_SIGNALS) signals.on(signal, onStop);
  signals.on("SIGHUP", onReload);
  let removePid: (() => void) | undefined;
  try {
    node = await options.start({ role, settings, print });
    removePid = writePidFile(instanceFolder(role, settings));
    reload = openReloads({ role, settings, node, readAgain: options.readAgain });
    if (isReloadAsked) reload(); // it had read its settings before
    if (stopping !== undefined) stop(node, stopping);
    return await node.done;
  } catch (error) {
    complain(explainStart(error));
    return EXIT_FAILED;
  } finally {
    removePid?.();
    for (const signal of STOP_SIGNALS) signals.off(signal, onStop);
    signals.off("SIGHUP", onReload);
  }
}

function stop(node: RunningNode, signal: string): void {
  node.stop(signal).catch((error: unknown) => node.log.error({ error: messageOf(error) }, "stopping failed"));
}

/** The commonest reasons in words that name the cure. */
function explainStart(error: unknown): string {
  const { code, address, port } = error as { code?: unknown; address?: unknown; port?: unknown };
  const where = `${String(address)}:${String(port)}`;
  if (code === "EADDRINUSE") {
    return `cannot listen on ${where}: something else does. Another jotgate? Other addresses can be set, such as --gateway-listen 0.0.0.0:8080`;
  }
  if (code === "EACCES" && port !== undefined) return `cannot listen on ${where}: this user may not use that port`;
  return messageOf(error);
}
