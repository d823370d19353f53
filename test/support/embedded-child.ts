/**
 * A process of its own that opens an embedded store and writes until it is killed; prints each acknowledged number.
 */
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEmbeddedSource } from "../../src/store/embedded/embedded.ts";
import { put, write } from "./stores.ts";

const source = await openEmbeddedSource({ folder: process.argv[2] ?? "", clock: systemClock, log: silentLog });
const store = source.open();
for (let i = 1; ; i++) {
  await write(store, put("/a", `${i}`), put("/b", `${i}`), put(`/n/${i}`, "x".repeat(500)));
  process.stdout.write(`${i}\n`);
}
