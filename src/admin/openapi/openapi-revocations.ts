/**
 * The schemas of revocations, as the OpenAPI description has them.
 */
import { APPLIED, DRY_RUN, type Json } from "./openapi-schemas.ts";

const TEXT: Json = { type: "string", minLength: 1, maxLength: 4096 };
const SECONDS: Json = { type: "number", minimum: 0, description: "Seconds since 1970." };
const RULE_MEMBERS: Json = {
  type: { enum: ["token", "consumer", "client", "subject", "kid", "issuer"] },
  ...{ value: { type: "string" }, issuer: { type: "string" } },
  ...{ issued_before: { type: "integer" }, reason: { type: "string" } },
};
const RULE: Json = {
  type: "object",
  properties: { name: { type: "string" }, ...RULE_MEMBERS },
  required: ["type"],
  additionalProperties: false,
};

function entry(required: readonly string[], more: Json = {}): Json {
  const texts = Object.fromEntries(required.map((name) => [name, TEXT]));
  return { type: "object", properties: { ...texts, ...more }, required, additionalProperties: false };
}

const WITH_RULE: Json = { issued_before: SECONDS, reason: { type: "string", maxLength: 256 } };
const ENTRY: Json = {
  anyOf: [
    { ...entry([]), properties: { token: { type: "string" } }, required: ["token"] },
    entry(["issuer", "jti"], { exp: SECONDS }),
    entry(["consumer"], WITH_RULE),
    entry(["client_id"], WITH_RULE),
    entry(["issuer", "subject"], WITH_RULE),
    entry(["issuer", "kid"]),
    entry(["issuer"], WITH_RULE),
  ],
};

export const REVOCATION_BODY: Json = { anyOf: [ENTRY, { type: "array", items: ENTRY, minItems: 1, maxItems: 10_000 }] };

const ENDED_KEY: Json = {
  type: "object",
  properties: {
    ...{ authorization_server: { type: "string" }, kid: { type: "string" } },
    next: { type: ["string", "null"], description: "The key that was made to sign instead." },
  },
  required: ["authorization_server", "kid", "next"],
  additionalProperties: false,
};

export const REVOKED: Json = {
  type: "object",
  properties: {
    ...{ revoked: { type: "integer" }, rules: { type: "array", items: RULE } },
    signing_keys: { type: "array", items: ENDED_KEY, description: "Keys of ours that a kid named." },
    ...DRY_RUN,
    ...APPLIED,
  },
  required: ["revoked"],
  additionalProperties: false,
};

export const REVOCATION: Json = {
  type: "object",
  properties: { name: { type: "string" }, ...RULE_MEMBERS, kept_until: { type: "integer" }, time: { type: "integer" } },
  required: ["name", "type", "value", "kept_until", "time"],
  additionalProperties: false,
};

const COUNT: Json = {
  type: "object",
  properties: { before: { type: ["integer", "null"] }, tokens: { type: "integer" } },
  required: ["before", "tokens"],
  additionalProperties: false,
};

/** Beside a list of rules. */
export const REVOKED_TOKENS: Json = {
  tokens: {
    type: "object",
    properties: { total: { type: "integer" }, ending: { type: "array", items: COUNT } },
    required: ["total", "ending"],
    additionalProperties: false,
  },
};

export const CHECKED: Json = {
  type: "object",
  properties: { revoked: { type: "boolean" }, by: RULE },
  required: ["revoked"],
  additionalProperties: false,
};

/** Of an entry of the history. */
export const REVOKED_ENTRY: Json = {
  type: "object",
  properties: {
    tokens: { type: "integer" },
    ...{ rules: { type: "array", items: RULE }, taken_back: { type: "array", items: RULE } },
  },
  additionalProperties: false,
};
