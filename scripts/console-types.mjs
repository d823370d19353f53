/**
 * Writes console/src/api/generated.ts: the types of the Admin API, from its own OpenAPI description, so that the console does
 * not compile against an API that there is not. Run with `--import tsx`; `npm run build` and `npm run types` do.
 * (openapi-typescript stands on the compiler API of TypeScript 5, which 7 does not have.)
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { describeApi } from "../src/admin/openapi/openapi.ts";
import { catalogOf } from "../src/admin/plugin-catalog.ts";
import { adminRoutes } from "../src/admin/routes/admin-routes.ts";
import { PLUGINS } from "../src/plugins/index.ts";
import { openPluginRegistry } from "../src/runtime/plugins/plugin-registry.ts";

const FILE = new URL("../console/src/api/generated.ts", import.meta.url);
const SUMMARIES = new URL("../docs/plugins/README.md", import.meta.url);
/** What plugins take is read at run time, from the node that is asked. */
const OF_PLUGINS = /^(Plugin|Consumer|Metadata)_/;

function typeOf(schema) {
  if (schema === undefined || schema === true) return "unknown";
  if (schema.$ref !== undefined) return `Schemas["${schema.$ref.split("/").at(-1)}"]`;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined && schema.properties === undefined)
    return [...new Set(choices.map(typeOf))].map((one) => `(${one})`).join(" | ");
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ ...schema, type })).join(" | ");
  switch (schema.type) {
    case "integer":
    case "number":
      return "number";
    case "string":
    case "boolean":
    case "null":
      return schema.type;
    case "array":
      return `readonly (${typeOf(schema.items)})[]`;
    case "object":
      return objectOf(schema);
    default:
      return schema.properties === undefined ? "unknown" : objectOf(schema);
  }
}

function objectOf({ properties, required = [], additionalProperties: more }) {
  if (properties === undefined)
    return more === undefined || more === false || more === true
      ? "Readonly<Record<string, unknown>>"
      : `Readonly<Record<string, ${typeOf(more)}>>`;
  const members = Object.entries(properties).map(
    ([name, schema]) => `readonly ${JSON.stringify(name)}${required.includes(name) ? "" : "?"}: ${typeOf(schema)}`,
  );
  return `{ ${members.join("; ")} }`;
}

/** Rows `| [name](name.md) | priority | words |`. */
function summariesIn(page) {
  const rows = page.matchAll(/^\| \[([\w-]+)\]\([^)]*\) \| [^|]*\| (.*) \|$/gm);
  return Object.fromEntries(
    [...rows].map(([, name, words]) => [name, words.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll("`", "")]),
  );
}

function operationsIn(paths) {
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([, operation]) => operation.operationId !== undefined)
      .map(([method, { operationId, parameters = [], responses }]) => {
        const query = parameters
          .filter((one) => one.in === "query")
          .map(({ name }) => `${JSON.stringify(name)}?: string`);
        const params = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => `${JSON.stringify(name)}: string`);
        const answer = typeOf(responses["200"]?.content?.["application/json"]?.schema);
        return { operationId, method: method.toUpperCase(), path, query, params, answer };
      }),
  );
}

const catalog = catalogOf(openPluginRegistry(PLUGINS), { compat: "default" });
const { paths, components } = JSON.parse(describeApi(catalog, adminRoutes({ stream: true, strict: false })).body);
const operations = operationsIn(paths);
const text = [
  "/** Generated from the OpenAPI description of the Admin API by scripts/console-types.mjs. */",
  "export interface Schemas {",
  ...Object.entries(components.schemas).map(
    ([name, schema]) =>
      `  ${JSON.stringify(name)}: ${OF_PLUGINS.test(name) ? typeOf({ type: "object" }) : typeOf(schema)};`,
  ),
  "}",
  "export interface Operations {",
  ...operations.map(
    ({ operationId, query, params, answer }) =>
      `  ${operationId}: { params: { ${params.join("; ")} }; query: { ${query.join("; ")} }; answer: ${answer} };`,
  ),
  "}",
  "export const PATHS: Readonly<Record<keyof Operations, readonly [method: string, path: string]>> = {",
  ...operations.map(({ operationId, method, path }) => `  ${operationId}: ["${method}", "${path}"],`),
  "};",
  "/** What plugins do, in a few words. */",
  `export const PLUGIN_SUMMARIES: Readonly<Record<string, string>> = ${JSON.stringify(summariesIn(readFileSync(SUMMARIES, "utf8")), null, 2)};`,
  "",
].join("\n");
if (!existsSync(FILE) || readFileSync(FILE, "utf8") !== text) writeFileSync(FILE, text);
