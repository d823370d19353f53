/**
 * `jotgate validate`: judges files of configuration without a server, as a node and the Admin API would.
 */
import { judgeFiles } from "../admin/preview/judge-files.ts";
import { checkEnvOf, makeParts } from "../node/node-parts.ts";
import { faultText } from "../store/file/file-document.ts";
import type { CommandIo } from "./command-io.ts";
import { complainOf, countsOf, EXIT_SAME, EXIT_WRONG, readFiles, readFilesArguments } from "./files-input.ts";

const USAGE = `jotgate validate [--partial] [--config SETTINGS] FILE|FOLDER …
  --partial: records that these files name and do not hold may be in the store.
  --config: the settings of the nodes, for their own plugins, keyring and compat.`;

export async function validateCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const read = readFilesArguments(args, { valued: [], switches: ["--partial"] }, USAGE, io);
  if (!read) return EXIT_WRONG;
  const { paths, options, settings } = read;
  if (paths.length === 0) {
    io.complain(`validate needs a file or folder\n${USAGE}`);
    return EXIT_WRONG;
  }
  const files = readFiles(paths, settings, io);
  if (!files) return EXIT_WRONG;
  const { registry } = await makeParts(settings);
  const rules = { isWhole: !options.has("--partial"), mayBeMasked: true };
  const faults = judgeFiles(checkEnvOf(settings, registry), files.records, files.places, rules);
  complainOf(faults.map(faultText), io);
  if (faults.length > 0) return EXIT_WRONG;
  io.print(`valid: ${countsOf(files.records)}`);
  return EXIT_SAME;
}
