/**
 * From a request to its answer: the fixed order of checks, then the one handler the path names.
 * Order: auth (before this) → resource name → method exists → body → JSON → `ttl` → handler.
 * Source: docs/spec/admin-api.md section 3.
 */

import { parseBody } from "./admin-body.ts";
import type { AdminRequest, Engine } from "./admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "./admin-response.ts";
import { dispatchOwn } from "./own-endpoints.ts";
import { describePlugin, describeSchema, listPlugins, validateSchema } from "./plugin-endpoints.ts";
import { validateConfigs } from "./preview/config-validate.ts";
import { getRecords } from "./read/read-records.ts";
import { type Target, targetOf } from "./resource-path.ts";
import { deleteRecord } from "./write/delete.ts";
import { writeAndWait } from "./write/wait-applied.ts";
import { type Body, patchRecord, postRecord, putRecord } from "./write/write.ts";
import { checkEnv } from "./write/write-commit.ts";
import { writeOptionsOf } from "./write/write-options.ts";

export type ReadBytes = () => Promise<
  { readonly ok: true; readonly bytes: Buffer } | { readonly ok: false; readonly refusal: AdminAnswer }
>;

export interface DispatchOptions {
  /** Off: stream routes are refused as APISIX refuses them without a stream proxy. */
  readonly stream: boolean;
  /** Bodies that two readers could read differently are refused. */
  readonly strict: boolean;
}

const ROUTED = new Set(["GET", "PUT", "POST", "DELETE", "PATCH"]);
export const NOT_FOUND = refuse(404, "404 Not Found");
const NO_SUCH_METHOD = refuse(404, "not found");
/** On every answer that a resource's handler gave, its refusals included. */
const VERSION_HEADER = { "X-API-VERSION": "v3" };

export async function dispatch(
  engine: Engine,
  options: DispatchOptions,
  request: AdminRequest,
  readBytes: ReadBytes,
): Promise<AdminAnswer> {
  const { method, segments } = request;
  if (!ROUTED.has(method)) return NOT_FOUND;
  const special = (await dispatchOwn(engine, request)) ?? (await dispatchSpecial(engine, options, request, readBytes));
  if (special) return special;
  const [resource = ""] = segments;
  if (resource === "stream_routes" && !options.stream) {
    return refuse(400, "stream mode is disabled, can not add stream routes");
  }
  const about = resource === "plugins" || resource === "schema";
  const target = about ? undefined : targetOf(segments);
  if (!about && !target) return refuse(404, `Unsupported resource type: ${resource}`);
  if (about && method !== "GET") return NO_SUCH_METHOD;
  const read = await readInput(options, request, readBytes);
  if ("refusal" in read) return read.refusal;
  const answer = target ? await handle(engine, request, target, read.body) : describe(engine, request);
  return { ...answer, headers: { ...VERSION_HEADER, ...answer.headers } };
}

/** Paths that are no resources, though they look like some. */
async function dispatchSpecial(
  engine: Engine,
  options: DispatchOptions,
  request: AdminRequest,
  readBytes: ReadBytes,
): Promise<AdminAnswer | undefined> {
  const { method, segments, args } = request;
  const [first, second, third] = segments;
  const path = `${first}/${second}`;
  if (path === "plugins/list" && method === "GET" && segments.length === 2) {
    return listPlugins(engine.catalog, args.get("subsystem"));
  }
  if (path === "plugins/reload" && segments.length === 2) {
    if (method === "PUT") return { status: 200, body: "done" };
    return refuse(405, `please use PUT method to reload the plugins, ${method} method is not allowed.`);
  }
  if (path === "schema/validate" && method === "POST") {
    const read = await readInput(options, request, readBytes);
    return "refusal" in read ? read.refusal : validateSchema(third ?? "", read.body);
  }
  if (path === "configs/validate" && method === "POST" && segments.length === 2) {
    const read = await readBytes();
    if (!read.ok) return read.refusal;
    return validateConfigs(checkEnv(engine), read.bytes, request.header("content-type"), options.strict);
  }
  return undefined;
}

async function readInput(
  options: DispatchOptions,
  request: AdminRequest,
  readBytes: ReadBytes,
): Promise<{ readonly body: Body } | { readonly refusal: AdminAnswer }> {
  let body: Body;
  if (request.method !== "GET") {
    const read = await readBytes();
    if (!read.ok) return { refusal: read.refusal };
    const parsed = parseBody(read.bytes, options.strict);
    if ("refusal" in parsed) return parsed;
    body = parsed.body;
  }
  const ttl = request.args.get("ttl");
  if (ttl !== undefined && !isLifetime(ttl))
    return { refusal: refuse(400, "invalid argument ttl: should be a number") };
  return { body };
}

/** Seconds that a lease can have. */
function isLifetime(text: string): boolean {
  const seconds = text.trim() === "" ? Number.NaN : Number(text);
  return seconds > 0 && seconds <= 9_000_000_000;
}

function describe(engine: Engine, request: AdminRequest): AdminAnswer {
  const [resource, first, second] = request.segments;
  if (resource === "plugins") return describePlugin(engine.catalog, first, request.args);
  if (first === "plugins") return describePlugin(engine.catalog, second, request.args);
  return describeSchema(first ?? "");
}

async function handle(engine: Engine, request: AdminRequest, target: Target, body: Body): Promise<AdminAnswer> {
  const { method } = request;
  const { kind } = target;
  if (method !== "GET" && (kind.denied as readonly string[]).includes(method)) {
    return refuse(405, `not supported \`${method}\` method for ${kind.message}`);
  }
  // A decoded slash would name another key than the path seems to; a deeper path names nothing at all.
  if (!isPlain(target)) return method === "PUT" ? refuse(400, BAD_ID) : KEY_NOT_FOUND;
  if (target.subPath !== "" && method !== "PATCH") return NO_SUCH_METHOD;
  if (method === "GET") return getRecords(engine, request, target);
  const options = writeOptionsOf(request.args, request.header);
  if ("status" in options) return options;
  return writeAndWait(engine, { ...request, options }, (asked) => writeRecord(engine, asked, target, body));
}

function writeRecord(engine: Engine, request: AdminRequest, target: Target, body: Body): Promise<AdminAnswer> {
  switch (request.method) {
    case "PUT":
      return putRecord(engine, request, target, body);
    case "POST":
      return postRecord(engine, request, target, body);
    case "PATCH":
      return patchRecord(engine, request, target, body);
    default:
      return deleteRecord(engine, request, target);
  }
}

const BAD_ID = 'invalid configuration: property "id" validation failed: object matches none of the required';

function isPlain(target: Target): boolean {
  return [target.localId, target.consumer, target.manager].every(
    (part) => part === undefined || (part !== "" && !/[/\0]/.test(part)),
  );
}
