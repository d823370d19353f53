/**
 * The schemas that several resources share: ids, names, labels, hosts, times, addresses.
 * Source: docs/spec/resources.md "Shared types" (APISIX 3.18).
 */
import { type Static, Type } from "typebox";

/** An integer from 1, or 1 to 64 characters of letters, digits, "-", "_" and ".". */
export const Id = Type.Unsafe<string | number>({
  anyOf: [
    { type: "string", minLength: 1, maxLength: 64, pattern: "^[a-zA-Z0-9-_.]+$" },
    { type: "integer", minimum: 1 },
  ],
});

export const Name = Type.String({ minLength: 1, maxLength: 256 });
export const Description = Type.String({ maxLength: 256 });
export const Timestamp = Type.Integer();

export const Labels = Type.Unsafe<Readonly<Record<string, string>>>({
  type: "object",
  description: "key/value pairs to specify attributes",
  patternProperties: {
    ".*": { type: "string", description: "value of label", pattern: "^\\S+$", maxLength: 256, minLength: 1 },
  },
});

export const HOST_PATTERN = "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$";
export const Host = Type.String({ pattern: HOST_PATTERN });

/** All three in seconds. */
export const Timeout = Type.Object({
  connect: Type.Number({ exclusiveMinimum: 0 }),
  send: Type.Number({ exclusiveMinimum: 0 }),
  read: Type.Number({ exclusiveMinimum: 0 }),
});
export type Timeout = Static<typeof Timeout>;

const IPV4_PART = "([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])";
const IPV4 = [IPV4_PART, IPV4_PART, IPV4_PART, IPV4_PART].join("\\.");
const IPV6 = "([a-fA-F0-9]{0,4}:){1,8}(:[a-fA-F0-9]{0,4}){0,8}([a-fA-F0-9]{0,4})?";

/** An address or a CIDR range of either family. */
export const Ip = Type.Unsafe<string>({
  type: "string",
  anyOf: [
    { title: "IPv4", type: "string", format: "ipv4" },
    { title: "IPv4/CIDR", type: "string", pattern: `^${IPV4}/([12]?[0-9]|3[0-2])$` },
    { title: "IPv6", type: "string", format: "ipv6" },
    { title: "IPv6/CIDR", type: "string", pattern: `^${IPV6}/[0-9]{1,3}$` },
  ],
});

/** Plugin name → its configuration; what stands inside is checked by each plugin. */
export const Plugins = Type.Unsafe<Readonly<Record<string, unknown>>>({ type: "object" });

export const METHODS = [
  "GET",
  "POST",
  "PUT",
  "DELETE",
  "PATCH",
  "HEAD",
  "OPTIONS",
  "CONNECT",
  "TRACE",
  "PURGE",
] as const;
export const Method = Type.Unsafe<(typeof METHODS)[number]>({
  type: "string",
  description: "HTTP method",
  enum: METHODS,
});

/** Members that every resource may carry beside its own. */
export const metadata = {
  id: Type.Optional(Id),
  name: Type.Optional(Name),
  desc: Type.Optional(Description),
  labels: Type.Optional(Labels),
  create_time: Type.Optional(Timestamp),
  update_time: Type.Optional(Timestamp),
};

/** Whether a record takes part. @param what "route" or "ssl" */
export function statusOf(what: string) {
  const description = `${what} status, 1 to enable, 0 to disable`;
  return Type.Unsafe<0 | 1>({ type: "integer", description, enum: [1, 0], default: 1 });
}

export const PEM_LENGTH_MAX = 65_536;
export const Certificate = Type.String({ minLength: 128, maxLength: PEM_LENGTH_MAX });
export const PrivateKey = Type.String({ minLength: 64, maxLength: PEM_LENGTH_MAX });
