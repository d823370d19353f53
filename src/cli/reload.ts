/**
 * `jotgate reload`: asks the running node of a data folder to replace its workers.
 */
import { messageOf } from "../base/errors.ts";
import type { Settings } from "../settings/settings.ts";
import { type CommandIo, EXIT_DONE, EXIT_FAILED } from "./command-io.ts";
import { runningInstances } from "./pid-file.ts";

/** @returns the exit code: 0 when a node was told, 1 when there is none or more than one */
export function reload(settings: Settings, io: Pick<CommandIo, "print" | "complain">): number {
  const all = runningInstances(settings.dataDir);
  const meant = settings.instance === undefined ? all : all.filter(({ name }) => name === settings.instance);
  const [one, ...others] = meant;
  if (!one) {
    const which = settings.instance === undefined ? "no node" : `no node named ${settings.instance}`;
    io.complain(`${which} is running with the data folder ${settings.dataDir} (--data-dir)`);
    return EXIT_FAILED;
  }
  if (others.length > 0) {
    io.complain(`several nodes are running; choose one by --instance: ${meant.map(({ name }) => name).join(", ")}`);
    return EXIT_FAILED;
  }
  try {
    process.kill(one.pid, "SIGHUP");
  } catch (error) {
    io.complain(`process ${one.pid} cannot be signalled: ${messageOf(error)}`);
    return EXIT_FAILED;
  }
  io.print(`told ${one.name} (process ${one.pid}) to replace its workers`);
  return EXIT_DONE;
}
