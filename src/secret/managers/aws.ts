/**
 * AWS Secrets Manager: `$secret://aws/<id>/<name>[/<member of its JSON>]`; names may hold slashes.
 * Source: docs/spec/secrets.md section 4.
 */
import { messageOf } from "../../base/errors.ts";
import type { AwsSecret } from "../../model/secret.ts";
import { foundIn, isRecord, type ManagerTools, parseDocument, type Reading, type SecretManager } from "./reading.ts";
import { amzDate, authorizationOf } from "./sigv4.ts";

/** A longer name is tried as it is, and with this many cuts at most. */
const CUTS_MAX = 8;
const NOT_FOUND: Reading = { kind: "absent", why: "failed to retrieve data from aws secret manager: no such secret" };

export function openAws(conf: AwsSecret, tools: ManagerTools): SecretManager {
  const region = conf.region ?? "us-east-1";
  const url = new URL(conf.endpoint_url ?? `https://secretsmanager.${region}.amazonaws.com`);

  const readName = async (name: string): Promise<Reading> => {
    const body = JSON.stringify({ SecretId: name, VersionStage: "AWSCURRENT" });
    const token = conf.session_token === undefined ? undefined : tools.resolveEnv(conf.session_token);
    const headers: Record<string, string> = {
      "content-type": "application/x-amz-json-1.1",
      host: url.host,
      "x-amz-date": amzDate(tools.clock.nowMs()),
      ...(token === undefined ? {} : { "x-amz-security-token": token }),
      "x-amz-target": "secretsmanager.GetSecretValue",
    };
    const identity = {
      accessKeyId: tools.resolveEnv(conf.access_key_id),
      secretAccessKey: tools.resolveEnv(conf.secret_access_key),
      region,
      service: "secretsmanager",
    };
    const authorization = authorizationOf({ method: "POST", path: url.pathname, headers, body }, identity);
    const answer = await tools.exchange({
      method: "POST",
      url: url.href,
      headers: { ...headers, authorization },
      body,
    });
    const document = parseDocument(answer.body);
    if (answer.status === 200 && isRecord(document)) return foundIn(document, "SecretString");
    const type = isRecord(document) && typeof document["__type"] === "string" ? document["__type"] : "";
    if (type.endsWith("ResourceNotFoundException")) return NOT_FOUND;
    return { kind: "unavailable", why: `failed to retrieve data from aws secret manager: status ${answer.status}` };
  };

  return {
    async read(key) {
      const parts = key.split("/");
      try {
        for (let cut = parts.length; cut > Math.max(0, parts.length - CUTS_MAX); cut--) {
          const whole = await readName(parts.slice(0, cut).join("/"));
          if (whole === NOT_FOUND) continue;
          const field = parts.slice(cut).join("/");
          if (field === "" || whole.kind !== "found") return whole;
          return foundIn(parseDocument(String(whole.value)), field);
        }
        return NOT_FOUND;
      } catch (error) {
        return { kind: "unavailable", why: `failed to retrieve data from aws secret manager: ${messageOf(error)}` };
      }
    },
  };
}
