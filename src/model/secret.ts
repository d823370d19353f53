/**
 * Secret managers, certificates and protobuf definitions.
 * Source: docs/spec/resources.md "Secret" and "SSL", docs/spec/secrets.md sections 3 and 4 (APISIX 3.18).
 */
import { type Static, Type } from "typebox";
import {
  Certificate,
  Description,
  HOST_PATTERN,
  Id,
  Labels,
  metadata,
  PrivateKey,
  statusOf,
  Timestamp,
} from "./shared-schema.ts";

const Address = Type.String({ pattern: "^[^\\/]+:\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?" });

/** Members beyond these are accepted, as APISIX does. */
export const VaultSecret = Type.Object({
  uri: Address,
  prefix: Type.String(),
  token: Type.String(),
  namespace: Type.Optional(Type.String()),
  kv_version: Type.Optional(
    Type.Unsafe<1 | 2>({
      type: "integer",
      enum: [1, 2],
      default: 1,
      description: "version of the KV engine; a member of Jotgate, APISIX always reads version 1",
    }),
  ),
  timeout: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: "seconds" })),
});
export type VaultSecret = Static<typeof VaultSecret>;

export const AwsSecret = Type.Object({
  access_key_id: Type.String(),
  secret_access_key: Type.String(),
  session_token: Type.Optional(Type.String()),
  region: Type.Optional(Type.String({ default: "us-east-1" })),
  endpoint_url: Type.Optional(Address),
});
export type AwsSecret = Static<typeof AwsSecret>;

export const GcpSecret = Type.Object(
  {
    auth_config: Type.Optional(
      Type.Object({
        client_email: Type.String(),
        private_key: Type.String(),
        project_id: Type.String(),
        token_uri: Type.Optional(Type.String({ default: "https://oauth2.googleapis.com/token" })),
        scope: Type.Optional(
          Type.Array(Type.String(), { default: ["https://www.googleapis.com/auth/cloud-platform"] }),
        ),
        entries_uri: Type.Optional(Type.String({ default: "https://secretmanager.googleapis.com/v1" })),
      }),
    ),
    ssl_verify: Type.Optional(Type.Boolean({ default: true })),
    auth_file: Type.Optional(Type.String()),
  },
  { oneOf: [{ required: ["auth_config"] }, { required: ["auth_file"] }] },
);
export type GcpSecret = Static<typeof GcpSecret>;

const SniName = Type.String({ pattern: HOST_PATTERN });

export const Ssl = Type.Object(
  {
    id: Type.Optional(Id),
    desc: Type.Optional(Description),
    labels: Type.Optional(Labels),
    create_time: Type.Optional(Timestamp),
    update_time: Type.Optional(Timestamp),
    type: Type.Optional(
      Type.Unsafe<"server" | "client">({
        type: "string",
        description: "ssl certificate type, server to server certificate, client to client certificate for upstream",
        default: "server",
        enum: ["server", "client"],
      }),
    ),
    cert: Type.Optional(Certificate),
    key: Type.Optional(PrivateKey),
    sni: Type.Optional(SniName),
    snis: Type.Optional(Type.Array(SniName, { minItems: 1 })),
    certs: Type.Optional(Type.Array(Certificate)),
    keys: Type.Optional(Type.Array(PrivateKey)),
    client: Type.Optional(
      Type.Object(
        {
          ca: Type.Optional(Certificate),
          optional: Type.Optional(
            Type.Boolean({
              default: false,
              description: "a certificate is asked for, and need not be sent or verified",
            }),
          ),
          depth: Type.Optional(Type.Integer({ minimum: 0, default: 1 })),
          skip_mtls_uri_regex: Type.Optional(
            Type.Array(Type.String({ description: "uri regular expression to skip mtls" }), {
              minItems: 1,
              uniqueItems: true,
            }),
          ),
        },
        {
          if: { properties: { optional: { enum: [true] } }, required: ["optional"] },
          then: {},
          else: { required: ["ca"] },
        },
      ),
    ),
    status: Type.Optional(statusOf("ssl")),
    ssl_protocols: Type.Optional(
      Type.Array(Type.Unsafe<"TLSv1.1" | "TLSv1.2" | "TLSv1.3">({ enum: ["TLSv1.1", "TLSv1.2", "TLSv1.3"] }), {
        description: "set ssl protocols",
        maxItems: 3,
        uniqueItems: true,
      }),
    ),
  },
  {
    if: { properties: { type: { enum: ["server"] } } },
    then: { oneOf: [{ required: ["sni", "key", "cert"] }, { required: ["snis", "key", "cert"] }] },
    else: { required: ["key", "cert"] },
    additionalProperties: false,
  },
);
export type Ssl = Static<typeof Ssl>;

export const Proto = Type.Object(
  { ...metadata, content: Type.String({ minLength: 1, maxLength: 1_048_576 }) },
  { additionalProperties: false },
);
export type Proto = Static<typeof Proto>;
