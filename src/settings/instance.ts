/**
 * Where one process keeps what is its own (process id, last-known-good file), so that several processes can share
 * one data folder without sharing state.
 */
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
