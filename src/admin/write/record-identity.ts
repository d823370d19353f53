/**
 * The rules of ids and user names: where they come from, that they agree, and what they may look like.
 * Source: docs/spec/admin-api.md sections 5.1, 5.9, 5.12 and 5.13.
 */
import { type Members, own } from "../../base/json/members.ts";
import { compileSchema } from "../../base/schema/schema.ts";
import { Id } from "../../model/shared-schema.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { type ResourceTarget, recordId } from "../request-target.ts";

export interface RecordIdentity {
  /** As keys have it. */
  readonly id: string;
  /** What the stored value carries as `id`, if it does. */
  readonly stored: string | number | undefined;
}

const ID = compileSchema(Id);
const SECRET_PATH = "a secret is written to /secrets/{manager}/{id}, such as /secrets/vault/1";

/** The identity that a PUT names by its path and body; for consumers, the path's name (the body is checked later). */
export function identityOfPut(target: ResourceTarget, body: Members): RecordIdentity | AdminAnswer {
  switch (target.kind.id) {
    case "username": {
      const username = own(body, "username");
      return { id: typeof username === "string" ? username : "", stored: undefined };
    }
    case "plugin":
      if (target.localId === undefined) return refuse(400, "missing plugin name");
      return { id: target.localId, stored: target.localId };
    case "manager":
      return identityOfSecret(target, body);
    case "id":
      return identityById(target, body);
  }
}

function identityOfSecret(target: ResourceTarget, body: Members): RecordIdentity | AdminAnswer {
  if (target.localId === undefined)
    return refuse(400, `missing ${target.kind.message} id`, { description: SECRET_PATH });
  const id = recordId(target, target.localId);
  const named = own(body, "id");
  if (named !== undefined && named !== null && String(named) !== id)
    return refuse(400, `wrong ${target.kind.message} id`);
  return isId(target.localId) ? { id, stored: id } : BAD_ID;
}

function identityById(target: ResourceTarget, body: Members): RecordIdentity | AdminAnswer {
  const named = own(body, "id") ?? undefined;
  const message = target.kind.message;
  if (target.localId === undefined && named === undefined) return refuse(400, `missing ${message} id`);
  if (target.localId !== undefined && named !== undefined && String(named) !== target.localId) {
    return refuse(400, `wrong ${message} id`);
  }
  const stored = target.localId ?? named;
  return isId(stored) ? { id: recordId(target, String(stored)), stored } : BAD_ID;
}

export const BAD_ID = refuse(
  400,
  'invalid configuration: property "id" validation failed: object matches none of the required',
  { description: "an id is a text of 1 to 64 letters, digits, _, - and ., or a whole number from 1" },
);

/** "." and ".." satisfy the schema, but no client's URL library would ever send them as they are. */
function isId(value: unknown): value is string | number {
  return ID.check(value) === undefined && value !== "." && value !== "..";
}

/** What a POST may not name. */
export function postNamesId(target: ResourceTarget, body: Members): AdminAnswer | undefined {
  const named = own(body, "id") ?? undefined;
  if (target.localId === undefined && named === undefined) return undefined;
  return refuse(400, `wrong ${target.kind.message} id, do not need it`);
}

/** The id that the store's revision gives to a POST. */
export function generatedId(revision: bigint): string {
  return String(revision).padStart(20, "0");
}
