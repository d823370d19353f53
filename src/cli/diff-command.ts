/**
 * `jotgate diff`: what `jotgate apply` would change, with the warnings of the Admin API.
 */
import { judgeFiles } from "../admin/preview/judge-files.ts";
import { checkEnvOf, makeParts } from "../node/node-parts.ts";
import { faultText } from "../store/file/file-document.ts";
import type { FileRecord } from "../store/file/file-records.ts";
import { type AdminClient, DEFAULT_ADMIN, errorOf, openAdminClient } from "./admin-client.ts";
import type { CommandIo } from "./command-io.ts";
import {
  type ConfigChange,
  type ConfigChanges,
  dryRun,
  findChanges,
  inParallel,
  type Label,
  pathOf,
} from "./config-changes.ts";
import { complainOf, EXIT_DIFFERS, EXIT_SAME, EXIT_WRONG, readFiles, readFilesArguments } from "./files-input.ts";

const USAGE = `jotgate diff [--admin URL] [--label NAME=VALUE [--prune]] [--details N] FILE|FOLDER …
  Exit code 0: the same; 2: it differs; 1: something is wrong. --details: of so many changes each member and the
  Admin API's warnings are shown (100).`;

/** Options of diff and apply alike. */
const SHARED_OPTIONS = { valued: ["--admin", "--label"], switches: ["--prune"] } as const;

interface ApplyInput {
  readonly admin: AdminClient;
  readonly records: readonly FileRecord[];
  readonly label: Label | undefined;
  readonly prune: boolean;
  readonly options: ReadonlyMap<string, string>;
}

/** Reads and judges all that diff and apply need; says what is wrong and returns undefined. Nothing is asked of a server. */
export async function readApplyInput(
  args: readonly string[],
  more: readonly string[],
  usage: string,
  io: CommandIo,
): Promise<ApplyInput | undefined> {
  const names = { valued: [...SHARED_OPTIONS.valued, ...more], switches: SHARED_OPTIONS.switches };
  const read = readFilesArguments(args, names, usage, io);
  if (!read) return undefined;
  const { paths, options, settings } = read;
  const given = options.get("--label");
  const label = labelOf(given);
  const url = options.get("--admin") ?? DEFAULT_ADMIN;
  const wrong = (text: string): undefined => void io.complain(`${text}\n${usage}`);
  if (paths.length === 0) return wrong("a file or folder is needed");
  if (!URL.canParse(url)) return wrong(`--admin must be a URL such as ${DEFAULT_ADMIN}`);
  if (given !== undefined && !label) return wrong("--label needs NAME=VALUE, such as owner=team-a");
  if (options.has("--prune") && !label) return wrong("--prune needs --label: it removes only what carries that label");
  if (settings.admin.key === undefined) return wrong("JOTGATE_ADMIN_KEY is not set");
  const files = readFiles(paths, settings, io);
  if (!files) return undefined;
  const { registry } = await makeParts(settings);
  const rules = { isWhole: false, mayBeMasked: true };
  const faults = judgeFiles(checkEnvOf(settings, registry), files.records, files.places, rules);
  if (faults.length > 0) return void complainOf(faults.map(faultText), io);
  const admin = openAdminClient(url, settings.admin.key);
  return { admin, records: files.records, label, prune: options.has("--prune"), options };
}

function labelOf(text: string | undefined): Label | undefined {
  const parts = /^([^=\s]+)=(\S+)$/.exec(text ?? "");
  return parts ? { name: parts[1] ?? "", value: parts[2] ?? "" } : undefined;
}

export async function diffCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const input = await readApplyInput(args, ["--details"], USAGE, io);
  if (!input) return EXIT_WRONG;
  const details = Number(input.options.get("--details") ?? DETAILS);
  try {
    const found = await findChanges(input.admin, input.records, input.label, input.prune);
    const { changes } = found;
    const shown = changes.slice(0, details);
    const ids = new Set(changes.map(pathOf));
    for (const text of (await inParallel(shown, AT_ONCE, (one) => describe(input.admin, one, ids))).flat())
      io.print(text);
    for (const one of changes.slice(details)) io.print(headOf(one));
    io.print(summaryOf(found));
    return changes.length === 0 ? EXIT_SAME : EXIT_DIFFERS;
  } catch (error) {
    io.complain(error instanceof Error ? error.message : String(error));
    return EXIT_WRONG;
  }
}

const DETAILS = 100;
const AT_ONCE = 4;

const SIGNS = { create: "+ create", update: "~ update", delete: "- delete" } as const;

export function headOf(change: ConfigChange): string {
  return `${SIGNS[change.change]} ${pathOf(change).slice(1)}`;
}

export function summaryOf({ changes, same }: Pick<ConfigChanges, "changes" | "same">): string {
  const count = (what: ConfigChange["change"]): number => changes.filter((one) => one.change === what).length;
  return `${count("create")} to create, ${count("update")} to update, ${count("delete")} to delete, ${same} the same`;
}

/** @param changing paths of all that changes, which a dry run of one record cannot know */
async function describe(admin: AdminClient, change: ConfigChange, changing: ReadonlySet<string>): Promise<string[]> {
  const lines = [headOf(change)];
  const { status, body } = await dryRun(admin, change);
  if (status !== 200) {
    const refers = [...changing].some((path) => errorOf(body).includes(`[${path.split("/").at(-1)}]`));
    // What it refers to, or what refers to it, is part of the same change.
    if (change.level > 0 || change.change === "delete" || refers) return lines;
    return [...lines, `    the Admin API would refuse it: ${errorOf(body)}`];
  }
  for (const one of (body?.changes ?? []) as readonly { diff: readonly DiffLine[] }[]) {
    for (const { op, path, from, to } of change.change === "update" ? one.diff : [])
      lines.push(
        `    ${op} ${path}${from === undefined ? "" : ` ${shown(from)}`}${to === undefined ? "" : ` → ${shown(to)}`}`,
      );
  }
  for (const { code, key, message } of (body?.warnings ?? []) as readonly WarningLine[])
    lines.push(`    warning ${code}: ${key} ${message}`);
  return lines;
}

interface DiffLine {
  readonly op: string;
  readonly path: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

interface WarningLine {
  readonly code: string;
  readonly key: string;
  readonly message: string;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "";
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
