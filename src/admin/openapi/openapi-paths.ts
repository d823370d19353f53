/**
 * The paths of our OpenAPI description: every kind of record by its own rules, and the endpoints beside them.
 */
import { KINDS, type Kind } from "../../model/kinds.ts";
import { APPLIED, type Json, listOf, ref, titleOf } from "./openapi-schemas.ts";

const json = (schema: Json): Json => ({ content: { "application/json": { schema } } });
const answer = (description: string, schema: Json): Json => ({ description, ...json(schema) });
const anyOf = (...schemas: Json[]): Json => ({ anyOf: schemas });

const query = (name: string, description: string, schema: Json = { type: "string" }): Json => ({
  ...{ name, in: "query", description, schema },
});
const header = (name: string, description: string): Json => ({
  ...{ name, in: "header", description, schema: { type: "string" } },
});
const inPath = (name: string): Json => ({ name, in: "path", required: true, schema: { type: "string" } });

const WRITE_PARAMETERS: readonly Json[] = [
  query("wait", "Answer when every live gateway node has applied the write.", { enum: ["all"] }),
  query("timeout", "How long to wait, such as 500ms or 2s."),
  query("dry_run", "Say what would change, and write nothing.", { enum: ["0", "1", "true", "false"] }),
];
const CONDITIONS: readonly Json[] = [
  header("If-Match", "Revisions that the record may have, or *."),
  header("If-None-Match", "* writes only if there is no such record."),
];
const TTL = query("ttl", "Seconds that the record lives.", { type: "number", exclusiveMinimum: 0 });
const LIST_PARAMETERS: readonly Json[] = [
  query("page", "Counted from 1.", { type: "integer" }),
  query("page_size", "From 10 to 500.", { type: "integer" }),
  query("name", "Pattern found in `name`."),
  query("label", "A label's name."),
  query("uri", "Pattern found in `uri` or `uris`."),
  query("filter", "Members and their values, form-encoded."),
];

const REFUSED = answer("Refused.", ref("Error"));
const FAULTS: Json = {
  "400": REFUSED,
  "401": answer("No key, a wrong one, or a viewer who writes.", ref("Error")),
  "503": answer("The store is away; `outcome` says whether the write may have happened.", ref("Error")),
};
const MISSING = answer("There is no such record.", anyOf(ref("KeyNotFound"), ref("Error")));
const STALE = answer("The record is not as If-Match expects.", ref("Error"));

function written(title: string, created: boolean): Json {
  const body = anyOf(ref(`${title}Answer`), ref("DryRun"));
  return {
    "200": answer("Written, or what would be.", body),
    ...(created && { "201": answer("Created.", ref(`${title}Answer`)) }),
    "202": answer("Written; not every node has applied it.", ref(`${title}Answer`)),
    ...{ "404": MISSING, "412": STALE, ...FAULTS },
  };
}

const DELETED: Json = {
  "200": answer("Deleted, or what would be.", anyOf(ref("Deleted"), ref("DryRun"))),
  "202": answer("Deleted; not every node has applied it.", ref("Deleted")),
  ...{ "404": MISSING, "412": STALE, ...FAULTS },
};

/** Where the records of a kind are found. */
function placeOf(kind: Kind): { readonly all: string; readonly one: string } {
  const names = { username: "{username}", plugin: "{plugin_name}", manager: "{manager}/{id}", id: "{id}" };
  const all = kind.name === "credential" ? "/consumers/{username}/credentials" : `/${kind.dir}`;
  return { all, one: `${all}/${names[kind.id]}` };
}

function parametersIn(path: string): readonly Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => inPath(name));
}

function pathsOf(kind: Kind): Json {
  const title = titleOf(kind);
  const { all, one } = placeOf(kind);
  const may = (method: "POST" | "PATCH"): boolean => !kind.denied.includes(method);
  const operation = (verb: string, more: Json): Json => ({ operationId: `${verb}${title}`, tags: [kind.dir], ...more });
  const body = { requestBody: { required: true, ...json(ref(title)) } };
  const write = [...WRITE_PARAMETERS, ...CONDITIONS];
  const ok = (schema: string): Json => ({ "200": answer("OK.", ref(schema)), ...FAULTS });
  const wholePut = kind.id === "id" || kind.id === "username"; // the body may name the record
  const patched = { requestBody: { required: true, ...json({}) }, responses: written(title, false) };
  return {
    [all]: {
      parameters: parametersIn(all),
      get: operation("list", { parameters: LIST_PARAMETERS, responses: { ...ok(`${title}List`), "404": MISSING } }),
      ...(wholePut && {
        put: operation("putNamed", { parameters: [TTL, ...write], ...body, responses: written(title, true) }),
      }),
      ...(may("POST") && {
        post: operation("create", { parameters: [TTL, ...WRITE_PARAMETERS], ...body, responses: written(title, true) }),
      }),
    },
    [one]: {
      parameters: parametersIn(one),
      get: operation("get", { responses: { ...ok(`${title}Entry`), "404": MISSING } }),
      put: operation("put", { parameters: [TTL, ...write], ...body, responses: written(title, true) }),
      ...(may("PATCH") && { patch: operation("patch", { parameters: [TTL, ...write], ...patched }) }),
      delete: operation("delete", {
        parameters: [query("force", "Delete what is still used.", { enum: ["true"] }), ...write],
        responses: DELETED,
      }),
    },
    ...(may("PATCH") && {
      [`${one}/{path}`]: {
        parameters: parametersIn(`${one}/{path}`),
        patch: operation("patchPart", {
          description: "`path` names a place inside the record and may hold slashes.",
          parameters: [TTL, ...write],
          ...patched,
        }),
      },
    }),
  };
}

const NODE: Json = {
  type: "object",
  properties: {
    ...{ id: { type: "string" }, address: { type: "string" }, version: { type: "string" }, hash: { type: "string" } },
    ...{ started: { type: "integer" }, workers: { type: "integer" }, applied: { type: "integer" } },
    ...{ lag: { type: "integer" }, staleness_seconds: { type: "number" }, problems: { type: "integer" } },
  },
  required: ["id", "address", "version", "started", "applied", "lag", "problems", "hash"],
  additionalProperties: false,
};

const HISTORY_ENTRY: Json = {
  type: "object",
  properties: {
    ...{ revision: { type: "integer" }, time: { type: "integer" }, actor: { type: "string" } },
    ...{ address: { type: "string" }, method: { type: "string" }, path: { type: "string" } },
    changes: { type: "array", items: ref("Change") },
    resealed: { type: "integer", description: "records that were sealed anew, without any other change" },
  },
  required: ["revision", "time", "actor", "address", "method", "path", "changes"],
  additionalProperties: false,
};

const IDENTITY: Json = {
  type: "object",
  properties: {
    ...{ id: { type: "string" }, epoch: { type: "integer" } },
    ...{ replaces: { type: "array", items: { type: "string" } }, ...APPLIED },
  },
  required: ["id", "epoch"],
  additionalProperties: false,
};

const ROLLED_BACK: Json = {
  type: "object",
  properties: {
    rolled_back_to: { type: "integer" },
    changes: { type: "array", items: ref("Change") },
    warnings: { type: "array", items: ref("Warning") },
    ...APPLIED,
  },
  required: ["rolled_back_to", "changes", "warnings"],
  additionalProperties: false,
};

const COUNTS: Json = { total: { type: "integer" }, resealed: { type: "integer" }, unchanged: { type: "integer" } };
const texts = (...names: string[]): Json => ({
  type: "object",
  properties: Object.fromEntries(names.map((name) => [name, { type: "string" }])),
  required: names,
});

const RESEALED: Json = {
  type: "object",
  properties: {
    ...{ dry_run: { const: true }, ...COUNTS, ...APPLIED },
    failed: { type: "array", items: texts("key", "reason") },
    warnings: { type: "array", items: texts("code", "key", "message") },
    history: { type: "object", properties: COUNTS, required: Object.keys(COUNTS), additionalProperties: false },
  },
  required: [...Object.keys(COUNTS), "failed", "warnings", "history"],
  additionalProperties: false,
};

function read(operationId: string, path: string, schema: Json, parameters: readonly Json[] = []): Json {
  const responses = { "200": answer("OK.", schema), "404": answer("Not found.", ref("Error")), ...FAULTS };
  return { [path]: { parameters: parametersIn(path), get: { operationId, parameters, responses } } };
}

function act(method: string, operationId: string, path: string, ok: Json, more: Json = {}): Json {
  const responses = { "200": ok, "404": answer("Not found.", ref("Error")), ...FAULTS };
  return { [path]: { parameters: parametersIn(path), [method]: { operationId, ...more, responses } } };
}

const ANY_BODY: Json = { requestBody: { required: true, ...json({}) } };
const EMPTY: Json = { description: "OK." };
const VALID = answer("Valid.", { type: "object", maxProperties: 0 });

/** What stands beside the records. */
const OTHERS: Json = {
  ...read("listPlugins", "/plugins/list", { type: "array", items: { type: "string" } }, [query("subsystem", "http")]),
  ...read("describePlugins", "/plugins", { type: "object" }, [query("all", "true: every plugin with its schemas.")]),
  ...read("getPluginSchema", "/plugins/{name}", { type: "object" }, [query("schema_type", "consumer")]),
  ...act("put", "reloadPlugins", "/plugins/reload", EMPTY),
  ...read("getSchema", "/schema/{kind}", { type: "object" }),
  ...read("getSchemaOfPlugin", "/schema/plugins/{name}", { type: "object" }, [query("schema_type", "consumer")]),
  ...act("post", "validateRecord", "/schema/validate/{kinds}", EMPTY, ANY_BODY),
  ...act("post", "validateConfiguration", "/configs/validate", VALID, ANY_BODY),
  ...read("listNodes", "/nodes", listOf(NODE, { revision: { type: "integer" } })),
  ...read("getStore", "/store", IDENTITY),
  ...act("post", "raiseEpoch", "/store/epoch", answer("Raised, or what would be.", anyOf(IDENTITY, ref("DryRun"))), {
    parameters: [
      query("replaces", "Id of a store that is gone, whose nodes shall follow this one."),
      ...WRITE_PARAMETERS,
    ],
  }),
  ...read("listHistory", "/history", listOf(HISTORY_ENTRY), [
    query("page", "Counted from 1.", { type: "integer" }),
    query("page_size", "At most 500.", { type: "integer" }),
    query("key", "A record, such as routes/1."),
  ]),
  ...read("getHistoryEntry", "/history/{revision}", HISTORY_ENTRY),
  ...act(
    "post",
    "rollBack",
    "/history/{revision}/rollback",
    answer("Rolled back, or what would change.", anyOf(ROLLED_BACK, ref("DryRun"))),
    { parameters: [query("key", "Only this record, such as routes/1."), ...WRITE_PARAMETERS] },
  ),
  ...act("post", "reseal", "/encryption/reseal", answer("Sealed anew, or what would be.", RESEALED), {
    parameters: WRITE_PARAMETERS,
  }),
  ...read("getOpenApi", "/openapi.json", { type: "object" }),
};

/** Below `/apisix/admin`. */
export function openApiPaths(): Json {
  return Object.assign({}, ...Object.values(KINDS).map(pathsOf), OTHERS) as Json;
}
