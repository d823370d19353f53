/**
 * The keys of issuers as the process that fetches them keeps them: in a file of the node's own folder, beside the
 * last-known-good file and sealed as that is, on whatever store.
 */

import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder } from "../base/sync-folder.ts";
import { keyOf } from "../model/keys.ts";
import type { StoredValue } from "../model/record.ts";
import type { TokenIssuer } from "../model/token-issuer.ts";
import type { RecordProblem } from "../status/status-facts.ts";
import { openSealer } from "../sync/lkg/sealer.ts";
import { type IssuerStatus, shownKeys } from "../token/issuer-facts.ts";
import { type KeyFile, type KeyKeepers, openKeepers } from "../token/key-keepers.ts";
import type { SigningKeys } from "../token/signing-keys.ts";
import type { DataPlaneOptions } from "./planes/data-plane.ts";

type Parts = Pick<DataPlaneOptions, "settings" | "folder" | "clock" | "log" | "metrics">;

/** @param nodeId spreads the first fetches of nodes that start together */
export function openNodeKeys({ settings, folder, clock, log, metrics }: Parts, nodeId: string): Promise<KeyKeepers> {
  const { keyring } = settings.encryption;
  const file = openKeyFile(join(folder, "issuer-keys"), keyring);
  const net = { denied: settings.tokens.denyAddresses, nameServers: settings.dns.resolvers };
  return openKeepers({ ...{ nodeId, file, clock, log, metrics }, ...net });
}

/** What the node tells of them. */
export function keyFacts(keepers: KeyKeepers): readonly IssuerStatus[] {
  return [...keepers.all()].map(([id, { held, set, failure }]) => ({
    ...{ id, ...shownKeys(set), source: held?.from ?? null, problem: failure ?? null },
    fetched_at: held ? Math.floor(held.fetchedAtMs / 1_000) : null,
  }));
}

/** What is wrong with keys, as problems of their records. */
export function keyProblems(keepers: KeyKeepers, prefix: string): readonly RecordProblem[] {
  const kind = "token_issuer";
  return keepers
    .problems()
    .map(({ id, reason, blocks }) => ({ key: keyOf(prefix, kind, id), kind, revision: 0n, reason, blocks }));
}

/** Authorization servers that cannot sign, or sign with a key whose time is over. */
export function serverProblems(servers: SigningKeys, prefix: string): readonly RecordProblem[] {
  const kind = "authorization_server";
  return servers
    .problems()
    .map(({ id, message }) => ({ key: keyOf(prefix, kind, id), kind, revision: 0n, reason: message, blocks: false }));
}

/** The record of an issuer whose keys are fetched; undefined: there is nothing to fetch. */
export function fetchedIssuer(value: StoredValue | undefined): TokenIssuer | undefined {
  const record = value as TokenIssuer | undefined; // it has passed the checks of its kind
  return record?.jwks === undefined && record?.public_key === undefined ? record : undefined;
}

const BOUND = Buffer.from("issuer-keys");

function openKeyFile(file: string, keyring: readonly (string | Buffer)[]): KeyFile {
  const sealer = keyring.length > 0 ? openSealer(keyring, "issuer-keys") : undefined;
  return {
    async read() {
      let bytes: Buffer;
      try {
        bytes = await readFile(file);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      }
      if (!sealer) return bytes;
      const opened = sealer.open(bytes, BOUND);
      if (!opened) throw new Error("no key of the keyring opens it");
      return opened;
    },
    async write(bytes) {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      const temporary = `${file}.new`;
      const handle = await open(temporary, "w", 0o600);
      try {
        await handle.writeFile(sealer ? sealer.seal(bytes, BOUND) : bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
      await syncFolder(dirname(file));
    },
  };
}
