/**
 * The secret managers by name. A record that does not fit its schema opens nothing: what refers to it stays unresolved.
 */
import { messageOf } from "../../base/errors.ts";
import { compileSchema } from "../../base/schema/schema.ts";
import { AwsSecret, GcpSecret, VaultSecret } from "../../model/secret.ts";
import { openAws } from "./aws.ts";
import { openGcp } from "./gcp.ts";
import type { ManagerTools, SecretManager } from "./reading.ts";
import { openVault } from "./vault.ts";

/** @returns why the record cannot be used */
export function openManager(manager: string, record: unknown, tools: ManagerTools): SecretManager | string {
  const schema = SCHEMAS.get(manager);
  if (!schema) return `no secret manager: ${manager}`;
  const error = compileSchema(schema).check(record);
  // A pattern's error quotes the value, which may hold more than a log should.
  if (error !== undefined) return `invalid configuration: ${error.replace(/ with ".*$/s, "")}`;
  try {
    // True for each: the record was checked against just that schema.
    if (manager === "vault") return openVault(record as VaultSecret, tools);
    if (manager === "aws") return openAws(record as AwsSecret, tools);
    return openGcp(record as GcpSecret, tools);
  } catch (error_) {
    return messageOf(error_);
  }
}

const SCHEMAS = new Map<string, object>([
  ["vault", VaultSecret],
  ["aws", AwsSecret],
  ["gcp", GcpSecret],
]);
