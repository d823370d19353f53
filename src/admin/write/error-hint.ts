/**
 * What was wanted, beside the sentence that tools compare: `description` of a refused write.
 */
import { wanted } from "../../base/schema/schema-wanted.ts";
import { type Kind, strictValidator } from "../../model/kinds.ts";
import type { RuleSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { type Members, own, ownMembers } from "../read/stored-record.ts";

const HASH_KEY =
  "a chash upstream needs key: what is hashed, such as remote_addr or arg_id; with hash_on header or cookie its name";
const PUBLIC_KEY = "algorithms RS*, ES*, PS* and EdDSA verify with public_key, a PEM text; HS* with secret";

/** 400 with the sentence, and a description where there is more to say. @param id as keys have it */
export function refuseWrite(admin: RuleSide, kind: Kind, id: string, value: Members, error: string): AdminAnswer {
  const description = hintOf(admin, kind, id, value, error);
  return refuse(400, error, description === undefined ? {} : { description });
}

function hintOf(admin: RuleSide, kind: Kind, id: string, value: Members, error: string): string | undefined {
  if (error === "missing key") return HASH_KEY;
  const name = /configuration of plugin ([\w-]+) err: /.exec(error)?.[1];
  if (name !== undefined) {
    const plugin = admin.catalog.get(name);
    const schema = (kind.pluginSide === "consumer" ? plugin?.consumerSchema : undefined) ?? plugin?.schema;
    const found = wanted(schema, own(ownMembers(value, "plugins"), name), `plugins.${name}`);
    return found ?? (error.includes("public_key") ? PUBLIC_KEY : undefined);
  }
  if (kind.name === "secret" || kind.id === "plugin" || !error.startsWith("invalid configuration: ")) return undefined;
  return wanted(strictValidator(kind, id).schema, value, kind.name);
}
