/**
 * Builds the console into a folder: `node scripts/console.mjs FOLDER`. Bundles with Vite, and lays a brotli beside every file
 * that gets smaller by it.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { build } from "vite";
import { ROOT } from "./project.mjs";

const [, , outDir] = process.argv;
await build({
  configFile: join(ROOT, "console/vite.config.ts"),
  build: { outDir, emptyOutDir: true },
});
for (const name of readdirSync(outDir, { recursive: true })) {
  const file = join(outDir, name);
  if (!statSync(file).isFile()) continue;
  const bytes = readFileSync(file);
  const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
  const smaller = brotliCompressSync(bytes, { params });
  if (smaller.length < bytes.length) writeFileSync(`${file}.br`, smaller);
}
