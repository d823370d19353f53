/**
 * The one door to lmdb. Its types for `import` do not compile under our settings (an export assignment, seen in 3.5.6),
 * those for `require` do; so it is loaded the CommonJS way.
 */
import { createRequire } from "node:module";

type Lmdb = typeof import("lmdb", { with: { "resolution-mode": "require" }});
/** Keys and values are bytes in all our databases. */
export type Database = import("lmdb", { with: { "resolution-mode": "require" }}).Database<Buffer, Buffer>;
export type RootDatabase = import("lmdb", { with: { "resolution-mode": "require" }}).RootDatabase<Buffer, Buffer>;

// True: this is the module that the type describes.
export const { open } = createRequire(import.meta.url)("lmdb") as Lmdb;
