/**
 * The version of this package, from the one place that states it.
 */
import { readFileSync } from "node:fs";

/** Reads package.json, which lies two folders up in the sources as in the build. Cost: one small file. */
export function readVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  const { version } = JSON.parse(readFileSync(file, "utf8")) as { readonly version: string };
  return version;
}
