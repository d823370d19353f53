/**
 * `jotgate dump`: all records of a store as files that `jotgate apply` takes.
 * Promise: of one revision; no secret is written in plain text; a file is replaced whole.
 */
import { renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { holdsMask } from "../admin/write/put-back.ts";
import { KINDS } from "../model/kinds.ts";
import { escapeVariables } from "../store/file/file-document.ts";
import { type FileSealing, newSealing, sealingKey } from "../store/file/file-sealing.ts";
import { DEFAULT_ADMIN, openAdminClient } from "./admin-client.ts";
import type { CommandIo } from "./command-io.ts";
import { exportedBy } from "./config-changes.ts";
import { EXIT_SAME, EXIT_WRONG, readFilesArguments } from "./files-input.ts";

const USAGE = `jotgate dump [--admin URL] [--with-secrets] FILE.yaml|FOLDER
  A folder gets one file for each kind. Without --with-secrets a secret that is no reference is written as ********, which
  apply takes for the one that the store has; with it all are sealed under JOTGATE_PASSPHRASE (or JOTGATE_PASSPHRASE_FILE).`;

export async function dumpCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const names = { valued: ["--admin"], switches: ["--with-secrets"] };
  const read = readFilesArguments(args, names, USAGE, io);
  if (!read) return EXIT_WRONG;
  const { paths, options, settings } = read;
  const [target, ...more] = paths;
  const wrong = (text: string): number => {
    io.complain(`${text}\n${USAGE}`);
    return EXIT_WRONG;
  };
  if (target === undefined || more.length > 0) return wrong("dump needs one file or folder to write");
  const url = options.get("--admin") ?? DEFAULT_ADMIN;
  if (!URL.canParse(url)) return wrong(`--admin must be a URL such as ${DEFAULT_ADMIN}`);
  const key = settings.admin.key ?? settings.admin.viewerKey;
  if (key === undefined) return wrong("JOTGATE_ADMIN_KEY is not set");
  const { passphrase } = settings;
  const isSealed = options.has("--with-secrets");
  if (isSealed && passphrase === undefined)
    return wrong("--with-secrets needs JOTGATE_PASSPHRASE or JOTGATE_PASSPHRASE_FILE");
  const sealing = isSealed ? newSealing() : undefined;
  const admin = openAdminClient(url, key);
  try {
    const all = sealing
      ? exportedBy(admin, "POST", "", { key: sealingKey(passphrase ?? "", sealing) })
      : exportedBy(admin, "GET", "?masked=1");
    const { lists, notes } = await gather(all, isSealed);
    const written = await writeLists(target, lists, sealing);
    for (const note of notes) io.complain(note);
    io.print(
      `${written.join(", ")}: ${[...lists].map(([dir, texts]) => `${texts.length} ${dir}`).join(", ") || "nothing"}`,
    );
    return EXIT_SAME;
  } catch (error) {
    io.complain(`${error instanceof Error ? error.message : String(error)}; nothing was written`);
    return EXIT_WRONG;
  }
}

/** Text of each record, by the list it stands in. */
type Lists = ReadonlyMap<string, readonly string[]>;

async function gather(
  records: ReturnType<typeof exportedBy>,
  isSealed: boolean,
): Promise<{ readonly lists: Lists; readonly notes: readonly string[] }> {
  const lists = new Map<string, string[]>();
  let masked = 0;
  let leased = 0;
  let keys = 0;
  for await (const record of records) {
    const kind = KINDS[record.kind];
    if (record.leased) leased++;
    // They change by themselves: what a file remembers of them would soon be wrong.
    else if (kind.name === "signing_key" && !isSealed) keys++;
    else {
      if (holdsMask(record.value)) masked++;
      const { create_time: _created, update_time: _updated, id: _id, ...rest } = record.value;
      const named = kind.id === "username" ? rest : { id: record.id, ...rest };
      const dir = kind.name === "credential" ? KINDS.consumer.dir : kind.dir;
      const texts = lists.get(dir) ?? [];
      lists.set(dir, texts);
      texts.push(stringify([escaped(named)], { lineWidth: 0, aliasDuplicateObjects: false }));
    }
  }
  const notes = [
    ...(masked > 0
      ? [`${masked} records hold secrets, written as ********; --with-secrets seals them into the file`]
      : []),
    ...(keys > 0 ? [`${keys} signing keys are left out; --with-secrets takes them along`] : []),
    ...(leased > 0 ? [`${leased} records with a lifetime (ttl) are left out`] : []),
  ];
  return { lists, notes };
}

function escaped(value: unknown): unknown {
  if (typeof value === "string") return escapeVariables(value);
  if (Array.isArray(value)) return value.map(escaped);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [escapeVariables(name), escaped(inner)]));
}

/** @returns the files that were written */
async function writeLists(target: string, lists: Lists, sealing: FileSealing | undefined): Promise<readonly string[]> {
  const head = sealing ? stringify({ sealing }) : "";
  const textOf = (dir: string): string => `${dir}:\n${(lists.get(dir) ?? []).join("")}`;
  if (/\.ya?ml$/i.test(target) && !isFolder(target)) {
    const all = [...lists.keys()].map(textOf).join("") || "routes: []\n";
    writeWhole(target, `${head}${all}`);
    return [target];
  }
  await mkdir(target, { recursive: true });
  const written: string[] = [];
  for (const { dir } of Object.values(KINDS)) {
    const file = join(target, `${dir}.yaml`);
    if (!lists.has(dir))
      rmSync(file, { force: true }); // of a dump before: those records are gone
    else {
      writeWhole(file, `${head}${textOf(dir)}`);
      written.push(file);
    }
  }
  return written;
}

function writeWhole(file: string, text: string): void {
  const fresh = `${file}.new`;
  writeFileSync(fresh, text, { mode: 0o600 });
  renameSync(fresh, file);
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
