/**
 * Loads plugins that are not part of the package: modules named by the setting `plugins`.
 * Promise: a module that cannot be loaded, has no plugin in it, or takes a built-in's name stops the start with its path.
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { CodedError, messageOf } from "../../base/errors.ts";
import type { Plugin } from "../../plugin/plugin.ts";
import { containPlugin } from "./contained-plugin.ts";

/**
 * @param paths files, relative ones to the working directory
 * @param builtIn plugins whose names are taken
 * @returns the plugins of all modules, in their order. Throws CodedError SETTINGS_INVALID.
 */
export async function loadOwnPlugins(
  paths: readonly string[],
  builtIn: readonly { readonly name: string }[],
): Promise<readonly Plugin[]> {
  const taken = new Set(builtIn.map((plugin) => plugin.name));
  const loaded: Plugin[] = [];
  for (const path of paths)
    for (const plugin of await loadModule(path)) {
      if (taken.has(plugin.name)) throw invalid(path, `a plugin called ${plugin.name} is there already`);
      taken.add(plugin.name);
      loaded.push(containPlugin(plugin));
    }
  return loaded;
}

async function loadModule(path: string): Promise<readonly Plugin[]> {
  let exported: object;
  try {
    exported = (await import(pathToFileURL(resolve(path)).href)) as object;
  } catch (error) {
    throw invalid(path, messageOf(error), error);
  }
  const plugins = [...new Set(Object.values(exported))].filter(isPlugin);
  if (plugins.length === 0) throw invalid(path, "no plugin is exported");
  return plugins;
}

/** By its members, not by who made it: a module may use another copy of this package, or none. */
function isPlugin(value: unknown): value is Plugin {
  if (typeof value !== "object" || value === null) return false;
  const { name, priority, version, schema, compile } = value as Partial<Record<keyof Plugin, unknown>>;
  return (
    typeof name === "string" &&
    /^[a-z][a-z0-9-]{0,63}$/.test(name) &&
    typeof priority === "number" &&
    typeof version === "number" &&
    typeof schema === "object" &&
    schema !== null &&
    typeof compile === "function"
  );
}

function invalid(path: string, why: string, cause?: unknown): CodedError {
  return new CodedError("SETTINGS_INVALID", { message: `plugins: ${path}: ${why}`, cause });
}
