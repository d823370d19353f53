/**
 * Opens the store that the settings name: etcd, or the embedded one of `jotgate start`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { GatewayError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Settings } from "../base/settings.ts";
import { openEmbeddedSource } from "../store/embedded.ts";
import { openEtcdSource } from "../store/etcd.ts";
import type { StoreSource } from "../store/store.ts";

export interface OpenedSource {
  readonly source: StoreSource;
  close(): Promise<void>;
}

export async function openSource(settings: Settings, clock: Clock, log: Log): Promise<OpenedSource> {
  const { etcd } = settings;
  if (etcd.hosts === undefined) {
    const source = await openEmbeddedSource({ folder: join(settings.dataDir, "store"), clock, log });
    return { source, close: () => source.close() };
  }
  const source = openEtcdSource({
    hosts: etcd.hosts,
    rpcMs: etcd.timeoutMs,
    clock,
    log,
    ...(etcd.user !== undefined && etcd.password !== undefined ? { user: etcd.user, password: etcd.password } : {}),
    ...(etcd.ca !== undefined ? { ca: readPem("etcd.ca", etcd.ca) } : {}),
    ...(etcd.cert !== undefined ? { cert: readPem("etcd.cert", etcd.cert) } : {}),
    ...(etcd.key !== undefined ? { key: readPem("etcd.key", etcd.key) } : {}),
  });
  return { source, close: async () => undefined };
}

/** @throws GatewayError SETTINGS_INVALID naming the setting and the file */
export function readPem(setting: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new GatewayError("SETTINGS_INVALID", { message: `${setting}: cannot read ${file}: ${messageOf(error)}` });
  }
}
