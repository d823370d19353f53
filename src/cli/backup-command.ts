/**
 * `jotgate backup FILE` and `jotgate restore FILE`: all that a store holds of one prefix as of one revision, sealed, and back into
 * an empty store. From one kind of store to the other is these two.
 * Promise: a backup is of exactly one revision; a restore checks the whole file before it writes, writes into an empty store only,
 * and puts the mark of a whole store (its identity) last. ADR 20.
 */
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { isCodedError, messageOf } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import { openSource } from "../node/store-source.ts";
import type { Settings } from "../settings/settings.ts";
import { openEmbeddedReader, type StoreReader } from "../store/embedded/embedded-reader.ts";
import { newSealing } from "../store/file/file-sealing.ts";
import { type KeyRange, prefixRange, type Store } from "../store/store.ts";
import { parseIdentity, raisedOf } from "../store/store-identity.ts";
import { controlKeys } from "../store/store-keys.ts";
import { type BackupHead, BackupWriter, readBackup } from "./backup-file.ts";
import { type CommandIo, EXIT_DONE, EXIT_FAILED } from "./command-io.ts";

/** A list that is compacted away under our hands is begun again this often. */
const ATTEMPTS = 3;
const BATCH = 100;
const BATCH_BYTES = 512 * 1024;

interface Opened {
  readonly store: Store;
  readonly name: string;
  close(): Promise<void>;
}

/** etcd, or the embedded store, which then nobody else may have open. */
async function openWhole(settings: Settings): Promise<Opened> {
  const none = (): never => {
    throw new TypeError("a store judges nothing");
  };
  const opened = await openSource({ ...settings, file: undefined }, systemClock, silentLog, none);
  const store = opened.source.open();
  const { hosts } = settings.etcd;
  const name = hosts ? `etcd at ${hosts.join(", ")}` : `the store in ${settings.dataDir}`;
  return { store, name, close: () => store.close().then(opened.close) };
}

/** A running embedded store too. */
async function openReader(settings: Settings): Promise<StoreReader> {
  if (!settings.etcd.hosts) return openEmbeddedReader(join(settings.dataDir, "store"));
  const { store, close } = await openWhole(settings);
  return { get: (key) => store.get(key), list: (range, options) => store.list(range, options), close };
}

/** Records, history, and what keeps them unique; not what nodes say, which is theirs alone. */
function rangesOf(prefix: string): readonly KeyRange[] {
  return [controlKeys(prefix).records, prefixRange(controlKeys(prefix).outside)];
}

function isChatter(prefix: string, key: string): boolean {
  const keys = controlKeys(prefix);
  return (
    key.startsWith(keys.nodes) ||
    key.startsWith(keys.acks) ||
    key === keys.beat ||
    key === keys.ask ||
    key === `${keys.outside}node-key`
  );
}

export async function backupCommand(file: string, settings: Settings, io: CommandIo): Promise<number> {
  try {
    const store = await openReader(settings);
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          io.print(await backUp(store, file, settings));
          return EXIT_DONE;
        } catch (error) {
          if (attempt >= ATTEMPTS || !isCodedError(error, "STORE_COMPACTED")) throw error;
        }
      }
    } finally {
      await store.close();
    }
  } catch (error) {
    io.complain(`${messageOf(error)}; no backup was written`);
    return EXIT_FAILED;
  }
}

async function backUp(store: StoreReader, file: string, settings: Settings): Promise<string> {
  const { prefix, passphrase, encryption } = settings;
  if (passphrase === undefined && encryption.keyring.length === 0)
    throw new Error(
      "a backup is sealed: set JOTGATE_PASSPHRASE (or JOTGATE_PASSPHRASE_FILE), or the cluster's JOTGATE_KEYRING",
    );
  const { revision } = await store.get(controlKeys(prefix).identity);
  const head = { prefix, revision: String(revision), made: Math.floor(Date.now() / 1_000) };
  const sealing = passphrase === undefined ? {} : { sealing: newSealing() };
  const writer = new BackupWriter(file, { ...head, ...sealing }, { keyring: encryption.keyring, passphrase });
  let records = 0;
  let leased = 0;
  try {
    for (const range of rangesOf(prefix)) {
      for await (const page of store.list(range, { revision })) {
        for (const { key, value, lease } of page.kvs) {
          if (isChatter(prefix, key)) continue;
          if (lease !== 0n) leased++;
          else {
            writer.add([key, value.toString("base64")]);
            records++;
          }
        }
      }
    }
    if (records === 0) throw new Error(`there is nothing under ${prefix}: another prefix (--prefix), or another store`);
    writer.finish();
  } catch (error) {
    writer.drop();
    throw error;
  }
  const left = leased > 0 ? `, ${leased} with a lifetime left out` : "";
  return `${file}: ${records} keys of revision ${revision}, sealed by the ${passphrase === undefined ? "keyring" : "passphrase"}${left}`;
}

export async function restoreCommand(file: string, settings: Settings, io: CommandIo): Promise<number> {
  const { prefix, passphrase, encryption } = settings;
  const keys = { keyring: encryption.keyring, passphrase };
  let written = 0;
  try {
    let head: BackupHead | undefined;
    let total = 0;
    for (const _ of readBackup(file, keys, (one) => {
      head = one;
    }))
      total++;
    if (head?.prefix !== prefix) throw new Error(`${file} is of prefix ${head?.prefix}, not ${prefix}: set --prefix`);
    const opened = await openWhole(settings);
    try {
      await checkEmpty(opened, prefix);
      const identity = controlKeys(prefix).identity;
      const history = `${controlKeys(prefix).outside}history/`;
      let last: Buffer | undefined;
      let batch: { readonly op: "put"; readonly key: string; readonly value: Buffer }[] = [];
      let bytes = 0;
      const flush = async (): Promise<void> => {
        if (batch.length === 0) return;
        // Only where nothing is: whoever writes meanwhile is not overwritten.
        const compare = batch.map(({ key }) => ({ key, target: "createRevision", is: "==", value: 0n }) as const);
        const { succeeded } = await opened.store.txn({ compare, then: batch });
        if (!succeeded) throw new Error(`somebody writes to ${opened.name}: stop the admins that use it`);
        written += batch.length;
        batch = [];
        bytes = 0;
      };
      for (const [key, text] of readBackup(file, keys, () => undefined)) {
        const value = Buffer.from(text, "base64");
        if (key === identity) {
          last = value;
          continue;
        }
        // An entry of the history is known by the revision at which it was written.
        const isAlone = key.startsWith(history);
        if (isAlone || batch.length >= BATCH || bytes + value.length > BATCH_BYTES) await flush();
        batch.push({ op: "put", key, value });
        bytes += value.length;
        if (isAlone) await flush();
      }
      await flush();
      // A generation later, so that nodes that hold the old store's records follow this one.
      const known = parseIdentity(last);
      if (known) batch.push({ op: "put", key: identity, value: Buffer.from(JSON.stringify(raisedOf(known)), "utf8") });
      await flush();
      io.print(`${opened.name}: ${written} of ${total} keys restored, of revision ${head?.revision}`);
      return EXIT_DONE;
    } finally {
      await opened.close();
    }
  } catch (error) {
    const state =
      written > 0 ? `${written} keys were written: empty the store again before the next try` : "nothing was written";
    io.complain(`${messageOf(error)}; ${state}`);
    return EXIT_FAILED;
  }
}

async function checkEmpty({ store, name }: Opened, prefix: string): Promise<void> {
  for (const range of rangesOf(prefix)) {
    for await (const page of store.list(range, { keysOnly: true, pageSize: 1 })) {
      const [first] = page.kvs;
      if (first)
        throw new Error(
          `${name} is not empty, it has ${first.key}: restore into a new data folder, an empty etcd, or delete what is under ${prefix}/ and ${prefix}-jotgate/ first`,
        );
    }
  }
}
