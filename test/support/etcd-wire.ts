/**
 * The bytes that etcd sends, made by another program than the one that reads them.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import protobuf from "protobufjs";

const folder = join(dirname(createRequire(import.meta.url).resolve("etcd3/package.json")), "proto");
const root = new protobuf.Root();
root.resolvePath = (_from, name) => join(folder, name.replace(/^.*\//, ""));
const response = root.loadSync("rpc.proto", { keepCase: true }).lookupType("etcdserverpb.WatchResponse");

/** @param message with the names of etcd's rpc.proto; numbers of 64 bits are texts */
export function watchBytes(message: object): Buffer {
  return Buffer.from(response.encode(response.fromObject(message)).finish());
}
