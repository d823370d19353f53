/**
 * The OpenAPI operations of one kind of record, by its own rules.
 */
import type { Kind } from "../../model/kinds.ts";
import { type Json, ref, titleOf } from "./openapi-schemas.ts";
import { answer, anyOf, CONDITIONS, FAULTS, json, query, WRITE_PARAMETERS, warned } from "./operation.ts";

const USED: Json = { parameters: [query("usage", "Say beside it when it was used last.", { enum: ["1"] })] };
const TTL = query("ttl", "Seconds that the record lives.", { type: "number", exclusiveMinimum: 0 });
const LIST_PARAMETERS: readonly Json[] = [
  query("page", "Counted from 1.", { type: "integer" }),
  query("page_size", "From 10 to 500.", { type: "integer" }),
  query("name", "Pattern found in `name`."),
  query("label", "A label's name."),
  query("uri", "Pattern found in `uri` or `uris`."),
  query("search", "Text found in the id, name, description, paths or hosts, in either case."),
  query("filter", "Members and their values, form-encoded."),
];
const MISSING = answer("There is no such record.", anyOf(ref("KeyNotFound"), ref("Error")));
const STALE = answer("The record is not as If-Match expects.", ref("Error"));

const DELETED: Json = {
  "200": warned("Deleted, or what would be.", ref("Deleted")),
  "202": warned("Deleted; not every node has applied it.", ref("Deleted")),
  ...{ "404": MISSING, "412": STALE, ...FAULTS },
};

function written(title: string, created: boolean): Json {
  const of = (description: string): Json => warned(description, ref(`${title}Answer`));
  return {
    "200": of("Written, or what would be."),
    ...(created && { "201": of("Created.") }),
    "202": of("Written; not every node has applied it."),
    ...{ "404": MISSING, "412": STALE, ...FAULTS },
  };
}

/** What an operation does; `%` is the kind. */
const VERBS = {
  list: "List every % that the filters let through, in pages if asked for.",
  get: "Read one %.",
  put: "Create or replace the % of this id.",
  putNamed: "Create or replace the % that the body names.",
  delete: "Delete one %.",
  create: "Create a % under an id that is made for it.",
  patch: "Change members of one %.",
  patchPart: "Replace one place inside of one %.",
} as const;

/** @returns operations by method and path: `GET /routes/:id` */
export function operationsOf(kind: Kind, all: string, one: string): ReadonlyMap<string, Json> {
  const title = titleOf(kind);
  const may = (method: "POST" | "PATCH"): boolean => !kind.denied.includes(method);
  const name = kind.message.replaceAll("_", " ");
  const operation = (verb: keyof typeof VERBS, more: Json): Json => ({
    ...{ operationId: `${verb}${title}`, summary: VERBS[verb].replace("%", name), tags: [kind.dir], ...more },
  });
  const body = { requestBody: { required: true, ...json(ref(title)) } };
  const write = [...WRITE_PARAMETERS, ...CONDITIONS];
  const ok = (schema: string): Json => ({ "200": answer("OK.", ref(schema)), ...FAULTS });
  const patched = { requestBody: { required: true, ...json({}) }, responses: written(title, false) };
  const operations = new Map<string, Json>([
    [
      `GET ${all}`,
      operation("list", { parameters: LIST_PARAMETERS, responses: { ...ok(`${title}List`), "404": MISSING } }),
    ],
    [
      `GET ${one}`,
      operation("get", {
        ...(kind.name === "credential" && USED),
        responses: { ...ok(`${title}Entry`), "404": MISSING },
      }),
    ],
    [`PUT ${one}`, operation("put", { parameters: [TTL, ...write], ...body, responses: written(title, true) })],
    [
      `DELETE ${one}`,
      operation("delete", {
        parameters: [query("force", "Delete what is still used.", { enum: ["true"] }), ...write],
        responses: DELETED,
      }),
    ],
  ]);
  // The body may name the record.
  if (kind.id === "id" || kind.id === "username") {
    operations.set(
      `PUT ${all}`,
      operation("putNamed", { parameters: [TTL, ...write], ...body, responses: written(title, true) }),
    );
  }
  if (may("POST")) {
    const parameters = [TTL, ...WRITE_PARAMETERS];
    operations.set(`POST ${all}`, operation("create", { parameters, ...body, responses: written(title, true) }));
  }
  if (may("PATCH")) {
    const description = "`path` names a place inside the record and may hold slashes.";
    operations.set(`PATCH ${one}`, operation("patch", { parameters: [TTL, ...write], ...patched }));
    operations.set(`PATCH ${one}/*`, operation("patchPart", { description, parameters: [TTL, ...write], ...patched }));
  }
  return operations;
}
