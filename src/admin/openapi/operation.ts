/**
 * Words of which the operations of our OpenAPI description are made.
 */
import { type Json, ref } from "./openapi-schemas.ts";

export const json = (schema: Json): Json => ({ content: { "application/json": { schema } } });
export const answer = (description: string, schema: Json): Json => ({ description, ...json(schema) });
export const anyOf = (...schemas: Json[]): Json => ({ anyOf: schemas });

export const query = (name: string, description: string, schema: Json = { type: "string" }): Json => ({
  ...{ name, in: "query", description, schema },
});
const header = (name: string, description: string): Json => ({
  ...{ name, in: "header", description, schema: { type: "string" } },
});

export const WRITE_PARAMETERS: readonly Json[] = [
  query("wait", "Answer when every live gateway node has applied the write.", { enum: ["all"] }),
  query("timeout", "How long to wait, such as 500ms or 2s."),
  query("dry_run", "Say what would change, and write nothing.", { enum: ["0", "1", "true", "false"] }),
];
export const CONDITIONS: readonly Json[] = [
  header("If-Match", "Revisions that the record may have, or *."),
  header("If-None-Match", "* writes only if there is no such record."),
];

const REFUSED = answer("Refused.", ref("Error"));
export const FAULTS: Json = {
  "400": REFUSED,
  "401": answer("No key, a wrong one, or a viewer who writes.", ref("Error")),
  "503": answer("The store is away; `outcome` says whether the write may have happened.", ref("Error")),
};

const MISSING = answer("Not found.", ref("Error"));

/** Of a write that is done although something about it is grave; the body stays as tools know it. */
export function warned(description: string, schema: Json): Json {
  return {
    ...answer(description, schema),
    headers: {
      Warning: {
        description: 'What is grave about what was written: `299 - "code: key message"`, several with commas between.',
        schema: { type: "string" },
      },
    },
  };
}

/** An operation that reads. @param summary what it answers, as a sentence */
export function readOperation(
  operationId: string,
  summary: string,
  schema: Json,
  parameters: readonly Json[] = [],
): Json {
  return { operationId, summary, parameters, responses: { "200": answer("OK.", schema), "404": MISSING, ...FAULTS } };
}

/** An operation that does something. @param summary what it does, as a sentence @param ok its answer with 200 */
export function actOperation(operationId: string, summary: string, ok: Json, more: Json = {}): Json {
  return { operationId, summary, ...more, responses: { "200": ok, "404": MISSING, ...FAULTS } };
}
