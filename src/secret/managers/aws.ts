/**
 * AWS Secrets Manager: `$secret://aws/<id>/<name>[/<member of its JSON>]`; names may hold slashes.
 * Source: docs/spec/secrets.md section 4.
 */

import { createHash, createHmac } from "node:crypto";
import { messageOf } from "../../base/errors.ts";
import { isMembers } from "../../base/json/members.ts";
import type { AwsSecret } from "../../model/secret.ts";
import { foundIn, type ManagerTools, parseDocument, type Reading, type SecretManager } from "./reading.ts";

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
    if (answer.status === 200 && isMembers(document)) return foundIn(document, "SecretString");
    const type = isMembers(document) && typeof document["__type"] === "string" ? document["__type"] : "";
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

/**
 * AWS Signature Version 4, as much of it as a POST to one AWS service needs.
 * Source: docs.aws.amazon.com "Create a signed AWS API request"; tested with AWS's published example.
 */
interface AwsIdentity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  readonly service: string;
}

interface AwsRequest {
  readonly method: string;
  /** Absolute path, escaped. */
  readonly path: string;
  /** All headers to sign, `host` and `x-amz-date` among them; names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** `20150830T123600Z`. */
function amzDate(nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;
}

/** The value of the Authorization header. */
export function authorizationOf(request: AwsRequest, identity: AwsIdentity): string {
  const names = Object.keys(request.headers).sort();
  const signedNames = names.join(";");
  const canonical = [
    request.method,
    request.path,
    "",
    ...names.map((name) => `${name}:${(request.headers[name] ?? "").trim().replace(/ +/g, " ")}`),
    "",
    signedNames,
    sha256(request.body),
  ].join("\n");
  const date = request.headers["x-amz-date"] ?? "";
  const scope = [date.slice(0, 8), identity.region, identity.service, "aws4_request"];
  const text = ["AWS4-HMAC-SHA256", date, scope.join("/"), sha256(canonical)].join("\n");
  const key = scope.reduce((secret: string | Buffer, part) => hmac(secret, part), `AWS4${identity.secretAccessKey}`);
  const credential = `${identity.accessKeyId}/${scope.join("/")}`;
  const signature = hmac(key, text).toString("hex");
  return `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${signedNames}, Signature=${signature}`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text, "utf8").digest();
}
