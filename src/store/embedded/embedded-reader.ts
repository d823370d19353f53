/**
 * The embedded store of a folder that another process may have open, to read only: LMDB lets readers of other processes in.
 * Promise: nothing of it is written, and the process that runs on it is not disturbed.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { CodedError, messageOf } from "../../base/errors.ts";
import type { Store } from "../store.ts";
import { listEmbedded } from "./embedded.ts";
import { EmbeddedData } from "./embedded-data.ts";

export interface StoreReader extends Pick<Store, "get" | "list" | "close"> {}

/** @throws CodedError STORE_UNAVAILABLE naming the folder when there is no store that can be read */
export function openEmbeddedReader(path: string): StoreReader {
  const folder = resolve(path);
  if (!existsSync(join(folder, "data.mdb"))) {
    throw new CodedError("STORE_UNAVAILABLE", {
      message: `there is no store in ${folder}: set --data-dir, or --etcd for one in etcd`,
    });
  }
  try {
    const data = new EmbeddedData(folder, true);
    return {
      async get(key) {
        data.refresh();
        return { kv: data.get(key), revision: data.head(), clusterId: data.clusterId };
      },
      list: (range, options = {}) => listEmbedded(data, range, options, () => undefined),
      close: () => data.close(),
    };
  } catch (thrown) {
    throw new CodedError("STORE_UNAVAILABLE", { message: `cannot read the store in ${folder}: ${messageOf(thrown)}` });
  }
}
