/**
 * The keys of the Admin API on one machine: given by settings, or made at the first start and kept in the data folder.
 * Promise: the file is readable by its owner only, and only a key made just now is handed out for printing.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CodedError, messageOf } from "../base/errors.ts";
import type { Settings } from "../settings/settings.ts";

export interface NamedKey {
  readonly name: string;
  readonly key: string;
  readonly role: "admin" | "viewer";
}

export interface AdminKeys {
  readonly keys: readonly NamedKey[];
  /** The admin key if it was made just now. */
  readonly generated: string | undefined;
  /** Where generated keys are kept; undefined when all came from settings. */
  readonly file: string | undefined;
}

interface KeptKeys {
  readonly admin: string;
  readonly viewer: string;
}

/**
 * @param mayGenerate true on the embedded store only: on etcd several admin nodes must share their keys
 * @throws CodedError SETTINGS_INVALID when the kept file cannot be read or written
 */
export function readAdminKeys(settings: Settings, mayGenerate: boolean): AdminKeys {
  const { admin } = settings;
  const keys: NamedKey[] = [...admin.keys];
  if (admin.key !== undefined) keys.push({ name: "admin", key: admin.key, role: "admin" });
  if (admin.viewerKey !== undefined) keys.push({ name: "viewer", key: admin.viewerKey, role: "viewer" });
  if (keys.some((key) => key.role === "admin") || !mayGenerate) return { keys, generated: undefined, file: undefined };

  const file = join(settings.dataDir, "keys.json");
  const kept = readKept(file);
  const { admin: adminKey, viewer } = kept ?? makeKeys(settings.dataDir, file);
  keys.push({ name: "admin", key: adminKey, role: "admin" });
  if (admin.viewerKey === undefined) keys.push({ name: "viewer", key: viewer, role: "viewer" });
  return { keys, generated: kept === undefined ? adminKey : undefined, file };
}

function readKept(file: string): KeptKeys | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new CodedError("SETTINGS_INVALID", { message: `cannot read ${file}: ${messageOf(error)}` });
  }
  try {
    const { admin, viewer } = JSON.parse(text) as Partial<Record<keyof KeptKeys, unknown>>;
    if (typeof admin === "string" && typeof viewer === "string" && admin !== "" && viewer !== "")
      return { admin, viewer };
  } catch {
    // Told below, without the text: it may hold a key.
  }
  throw new CodedError("SETTINGS_INVALID", {
    message: `${file} does not hold {"admin": key, "viewer": key}; repair it, or remove it to have new keys made`,
  });
}

function makeKeys(folder: string, file: string): KeptKeys {
  const kept: KeptKeys = {
    admin: randomBytes(24).toString("base64url"),
    viewer: randomBytes(24).toString("base64url"),
  };
  try {
    mkdirSync(folder, { recursive: true });
    const fresh = `${file}.new`;
    writeFileSync(fresh, `${JSON.stringify(kept)}\n`, { mode: 0o600 });
    renameSync(fresh, file);
  } catch (error) {
    throw new CodedError("SETTINGS_INVALID", {
      message: `cannot keep the admin key in ${file}: ${messageOf(error)}`,
    });
  }
  return kept;
}
