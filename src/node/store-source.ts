/**
 * Opens the store that the settings name: etcd, a file, or the embedded one of `jotgate start`.
 */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { judgeFiles } from "../admin/preview/judge-files.ts";
import type { CheckEnv } from "../admin/write/candidate-check.ts";
import type { Clock } from "../base/clock.ts";
import { CodedError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { pairMismatch } from "../model/ssl-check.ts";
import { processEnvironment, type Settings } from "../settings/settings.ts";
import type { EtcdTls } from "../store/etcd/etcd-client.ts";
import type { StoreSource } from "../store/store.ts";

interface OpenedSource {
  readonly source: StoreSource;
  close(): Promise<void>;
}

/** @param checks what judges the records of a file */
export async function openSource(
  settings: Settings,
  clock: Clock,
  log: Log,
  checks: () => CheckEnv,
): Promise<OpenedSource> {
  const { etcd, file: path, passphrase, prefix } = settings;
  if (path !== undefined) {
    const { openFileSource } = await import("../store/file/file-source.ts");
    const env = checks();
    const rules = { isWhole: true, mayBeMasked: false };
    const source = openFileSource({
      ...{ path, prefix, passphrase, clock, environment: processEnvironment() },
      judge: (records, places) => judgeFiles(env, records, places, rules),
    });
    return { source, close: async () => source.close() };
  }
  if (etcd.hosts === undefined) {
    const { openEmbeddedSource } = await import("../store/embedded/embedded.ts");
    const source = await openEmbeddedSource({ folder: join(settings.dataDir, "store"), clock, log });
    return { source, close: () => source.close() };
  }
  const { openEtcdSource } = await import("../store/etcd/etcd.ts");
  const source = openEtcdSource({
    hosts: etcd.hosts,
    rpcMs: etcd.timeoutMs,
    clock,
    log,
    ...(etcd.user !== undefined && etcd.password !== undefined ? { user: etcd.user, password: etcd.password } : {}),
    tls: followTls(etcd, log),
  });
  return { source, close: async () => undefined };
}

/**
 * Reads the files now, and again whenever a client is made, so that replaced certificates count without a restart.
 * Promise: files that cannot be used, such as half of a pair that is being replaced, leave what was read before.
 * @throws CodedError SETTINGS_INVALID when they cannot be read the first time
 */
function followTls({ ca, cert, key }: Settings["etcd"], log: Log): () => EtcdTls {
  const read = (): EtcdTls => ({
    ...(ca !== undefined ? { ca: readPem("etcd.ca", ca) } : {}),
    ...(cert !== undefined ? { cert: readPem("etcd.cert", cert) } : {}),
    ...(key !== undefined ? { key: readPem("etcd.key", key) } : {}),
  });
  let held = read();
  if (held.cert && held.key) requirePair("etcd.cert", held.cert, "etcd.key", held.key);
  let lastFault = "";
  return () => {
    if (ca === undefined && cert === undefined) return held;
    try {
      const now = read();
      if (isSame(now, held)) return held;
      createSecureContext(now);
      if (now.cert && now.key) requirePair("etcd.cert", now.cert, "etcd.key", now.key);
      held = now;
      log.info({}, "the certificates for etcd were replaced");
    } catch (error) {
      const text = messageOf(error);
      if (text !== lastFault)
        log.warn({ error: text }, "the new certificates for etcd cannot be used; the former ones count");
      lastFault = text;
    }
    return held;
  };
}

function isSame(one: EtcdTls, other: EtcdTls): boolean {
  const bytes = ({ ca, cert, key }: EtcdTls): string => [ca, cert, key].map(String).join("|");
  return bytes(one) === bytes(other);
}

/** @throws CodedError SETTINGS_INVALID naming the setting and the file */
export function readPem(setting: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new CodedError("SETTINGS_INVALID", { message: `${setting}: cannot read ${file}: ${messageOf(error)}` });
  }
}

/** @throws CodedError SETTINGS_INVALID when a key is not its certificate's, or one of them cannot be read */
export function requirePair(
  certSetting: string,
  cert: string | Buffer,
  keySetting: string,
  key: string | Buffer,
): void {
  let mismatch: string | undefined;
  try {
    mismatch = pairMismatch(new X509Certificate(cert), createPrivateKey(key));
  } catch {
    mismatch = "one of them is no PEM that can be read";
  }
  if (mismatch === undefined) return;
  throw new CodedError("SETTINGS_INVALID", { message: `${certSetting}, ${keySetting}: ${mismatch}` });
}
