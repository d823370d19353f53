/**
 * Libraries that only some configurations want: the first that does waits for them, who has none never pays.
 */
import { createRequire } from "node:module";
import { makeStringsFast } from "../../base/v8-tuning.ts";

const load = createRequire(import.meta.url);
const loaded = new Map<string, unknown>();

/** @param name of a package; the type is the caller's word for what it exports */
export function library<Exports>(name: string): Exports {
  if (!loaded.has(name)) {
    loaded.set(name, load(name));
    makeStringsFast();
  }
  return loaded.get(name) as Exports;
}
