/**
 * Loads the plugins a user wrote: modules named by `plugins` (`--plugins ./mine.js`), each exporting what definePlugin made.
 * Promise: a module that cannot be used stops the start with a sentence that names it; nothing of it runs per request
 * outside the pipeline's own guard.
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { GatewayError, messageOf } from "../base/errors.ts";
import type { Plugin } from "../plugin/plugin.ts";

/** @throws GatewayError SETTINGS_INVALID naming the module and what is wrong with it */
export async function loadOwnPlugins(paths: readonly string[], builtIn: readonly Plugin[]): Promise<readonly Plugin[]> {
  const names = new Set(builtIn.map(({ name }) => name));
  const found: Plugin[] = [];
  for (const path of paths) {
    const before = found.length;
    for (const value of Object.values(await importModule(path))) {
      if (!isPlugin(value) || found.includes(value)) continue;
      if (names.has(value.name)) throw refused(path, `there is a plugin ${value.name} already`);
      names.add(value.name);
      found.push(value);
    }
    if (found.length === before) throw refused(path, "it exports nothing that definePlugin made");
  }
  return found;
}

async function importModule(path: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw refused(path, messageOf(error), error);
  }
}

function refused(path: string, why: string, cause?: unknown): GatewayError {
  return new GatewayError("SETTINGS_INVALID", { message: `plugins: cannot load ${path}: ${why}`, cause });
}

/** By shape: the module may have its own copy of the package. */
function isPlugin(value: unknown): value is Plugin {
  if (typeof value !== "object" || value === null) return false;
  const { name, priority, schema, compile } = value as Partial<Record<keyof Plugin, unknown>>;
  return (
    typeof name === "string" &&
    /^[a-z][a-z0-9-]{0,63}$/.test(name) &&
    typeof priority === "number" &&
    typeof schema === "object" &&
    typeof compile === "function"
  );
}
