/**
 * AWS Signature Version 4, as much of it as a POST to one AWS service needs.
 * Source: docs.aws.amazon.com "Create a signed AWS API request"; tested with AWS's published example.
 */
import { createHash, createHmac } from "node:crypto";

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
export function amzDate(nowMs: number): string {
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
