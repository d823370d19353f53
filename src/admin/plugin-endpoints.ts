/**
 * What the Admin API tells of plugins and schemas.
 * Source: docs/spec/admin-api.md section 6.
 */
import { kindByDir, strictValidator } from "../model/kinds.ts";
import { type AdminAnswer, refuse } from "./admin-response.ts";
import type { PluginCatalog } from "./plugin-catalog.ts";
import { kindWithSchema } from "./write/candidate-check.ts";
import type { Body } from "./write/write.ts";

/** `GET /plugins/list`. There are no plugins of the stream subsystem. */
export function listPlugins(catalog: PluginCatalog, subsystem: string | undefined): AdminAnswer {
  if (subsystem === undefined || subsystem === "http") {
    return { status: 200, body: catalog.names };
  }
  return subsystem === "stream" ? { status: 200, body: [] } : { status: 400, body: "invalid subsystem passed" };
}

/** `GET /plugins/{name}`, `GET /schema/plugins/{name}` and `GET /plugins?all=true`. */
export function describePlugin(
  catalog: PluginCatalog,
  name: string | undefined,
  args: ReadonlyMap<string, string>,
): AdminAnswer {
  const subsystem = args.get("subsystem") ?? "http";
  if (subsystem !== "http" && subsystem !== "stream") return refuse(400, `unsupported subsystem: ${subsystem}`);
  if (args.get("all") === "true") return { status: 200, body: subsystem === "http" ? describeAll(catalog) : {} };
  const plugin = name === undefined || subsystem === "stream" ? undefined : catalog.get(name);
  if (!plugin) return refuse(404, `plugin not found in subsystem ${subsystem}`);
  const schema = args.get("schema_type") === "consumer" ? plugin.consumerSchema : plugin.schema;
  return schema ? { status: 200, body: schema } : refuse(400, "not found schema");
}

function describeAll(catalog: PluginCatalog): object {
  const entries = catalog.plugins().map((plugin) => [
    plugin.name,
    {
      version: plugin.version,
      priority: plugin.priority,
      schema: plugin.schema,
      metadata_schema: plugin.metadataSchema,
      consumer_schema: plugin.consumerSchema,
      type: plugin.type,
    },
  ]);
  return Object.fromEntries(entries);
}

/** `GET /schema/{kind}`, singular names. */
export function describeSchema(name: string): AdminAnswer {
  const kind = kindWithSchema(name);
  return kind ? { status: 200, body: kind.schema } : refuse(400, `not found schema: ${name}`);
}

/** `POST /schema/validate/{kinds}`, plural names: the resource's own schema alone, without any prefix. */
export function validateSchema(dir: string, body: Body): AdminAnswer {
  const kind = kindByDir(dir);
  if (!kind) return refuse(404, `Unsupported resource type: ${dir}`);
  if (!kindWithSchema(kind.name)) return refuse(400, `not found schema: ${dir}`);
  const error = strictValidator(kind, "").check(body?.value);
  return error === undefined ? { status: 200 } : refuse(400, error);
}
