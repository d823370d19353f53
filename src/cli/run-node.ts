/**
 * Runs a node until it is told to stop: SIGTERM, SIGINT and SIGQUIT drain it, a second one ends the process at once,
 * SIGHUP replaces its workers.
 * Promise: whatever way the node ends, the listeners on signals and the file with the process id are gone.
 */
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { instanceFolder } from "../settings/instance.ts";
import type { Settings } from "../settings/settings.ts";
import type { Role } from "../settings/settings-check.ts";
import { EXIT_FAILED } from "./command-io.ts";
import { writePidFile } from "./pid-file.ts";

/** A node that was started. */
export interface RunningNode {
  readonly log: Log;
  /** Drains and ends; idempotent. */
  stop(reason: string): Promise<void>;
  /** Replaces workers one after another; absent where there is only one process. */
  reload?(): Promise<void>;
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
  const onReload = (): void => {
    if (!node) return; // it starts with what is there now
    const { log } = node;
    if (!node.reload) log.warn({}, "nothing to reload: this node is a single process");
    else node.reload().catch((error: unknown) => log.error({ error: messageOf(error) }, "reload failed"));
  };
  for (const signal of STOP_SIGNALS) signals.on(signal, onStop);
  signals.on("SIGHUP", onReload);
  let removePid: (() => void) | undefined;
  try {
    node = await options.start({ role, settings, print });
    removePid = writePidFile(instanceFolder(role, settings));
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
