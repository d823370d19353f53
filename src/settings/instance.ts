/**
 * Which process this is: the version of its package, and where it keeps what is its own (process id, last-known-good file), so that
 * several processes can share one data folder without sharing state.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Settings } from "./settings.ts";
import type { Role } from "./settings-check.ts";

/** The `instance` setting, or role and port: `node-9080`, `admin-9180`, `gateway-9080`. */
export function instanceName(role: Role, settings: Settings): string {
  if (settings.instance !== undefined) return settings.instance;
  const { admin, gateway } = settings;
  const { port } = role === "admin" ? admin.listen : (gateway.listen ?? gateway.tls.listen ?? admin.listen);
  return `${role === "all" ? "node" : role}-${port}`;
}

/** The folder of this process inside the data folder; nobody has made it yet. */
export function instanceFolder(role: Role, settings: Settings): string {
  return join(settings.dataDir, instanceName(role, settings));
}

/**
 * The version of this package, from the one place that states it.
 */

/** Reads package.json, which lies two folders up in the sources as in the build. Cost: one small file. */
export function readVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  const { version } = JSON.parse(readFileSync(file, "utf8")) as { readonly version: string };
  return version;
}
