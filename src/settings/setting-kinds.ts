/**
 * The kinds of values a setting can have: how each is written by people and what the program gets.
 * Flags and environment give text; YAML gives text, numbers, booleans and lists. One reader takes all of them.
 * Promise: a reader never throws and never repeats its input; what it does not understand is undefined.
 */
import { isIP } from "node:net";
import { type Static, Type } from "typebox";
import { ipListError } from "../base/net/ip.ts";
import { compileSchema } from "../base/schema/schema.ts";

export interface SettingKind<Value, Suffix extends string = ""> {
  /** Completes "expected …". */
  readonly wants: string;
  /** The unit that the name in the program carries: `idle_timeout` is `idleTimeoutMs`. */
  readonly suffix: Suffix;
  /** Lists: a flag may be repeated, text is split at commas. */
  readonly list: boolean;
  /** A flag without a value means true, and `--no-…` means false. */
  readonly flag: boolean;
  read(input: unknown): Value | undefined;
}

/** Where a listener listens. Port 0 means any free one. */
export interface Address {
  /** An IP literal without brackets, or a host name. */
  readonly host: string;
  readonly port: number;
}

function kind<Value, Suffix extends string = "">(
  wants: string,
  read: (input: unknown) => Value | undefined,
  more: { readonly suffix?: Suffix; readonly list?: boolean; readonly flag?: boolean } = {},
): SettingKind<Value, Suffix> {
  // True: without a suffix Suffix is "".
  return { wants, read, suffix: (more.suffix ?? "") as Suffix, list: more.list ?? false, flag: more.flag ?? false };
}

/** Text that fits a pattern. */
export function text(wants: string, pattern: RegExp): SettingKind<string> {
  return kind(wants, (input) => {
    const written = typeof input === "number" ? String(input) : input;
    return typeof written === "string" && pattern.test(written) ? written : undefined;
  });
}

export function choice<const Options extends readonly string[]>(...options: Options): SettingKind<Options[number]> {
  return kind(`one of ${options.join(", ")}`, (input) => options.find((option) => option === input));
}

export function integer(min: number, max: number): SettingKind<number> {
  return kind(`an integer from ${min} to ${max}`, (input) => {
    const value = typeof input === "string" && /^\d{1,15}$/.test(input) ? Number(input) : input;
    return typeof value === "number" && Number.isInteger(value) && value >= min && value <= max ? value : undefined;
  });
}

const YES = ["true", "on", "yes", "1"];
const NO = ["false", "off", "no", "0"];

/** Words that a boolean flag takes as its value. */
export const SWITCH_WORDS: readonly string[] = [...YES, ...NO];

export const onOff: SettingKind<boolean> = kind(
  "on or off",
  (input) => {
    if (typeof input === "boolean") return input;
    if (YES.includes(String(input))) return true;
    return NO.includes(String(input)) ? false : undefined;
  },
  { flag: true },
);

const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION_MAX_MS = 2 ** 31 - 1; // what a timer can hold

/** Milliseconds. A number without a unit is refused: nobody can tell what it means. */
export const duration: SettingKind<number, "Ms"> = kind(
  "a duration such as 500ms, 30s, 2m, 1h or 1d (at most 24d)",
  (input) => {
    const parts = typeof input === "string" ? /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)$/.exec(input) : null;
    if (!parts) return undefined;
    const valueMs = Math.round(Number(parts[1]) * (DURATION_MS[parts[2] ?? ""] ?? Number.NaN));
    return valueMs <= DURATION_MAX_MS ? valueMs : undefined;
  },
  { suffix: "Ms" },
);

const SIZE_BYTES: Readonly<Record<string, number>> = { "": 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Bytes. Names of such settings end in `_bytes`. */
export const size: SettingKind<number> = kind("a size such as 16384, 16KiB, 1MiB or 2GiB", (input) => {
  const parts = /^(\d{1,12})(B|KiB|MiB|GiB|)$/.exec(typeof input === "number" ? String(input) : asText(input));
  if (!parts) return undefined;
  const bytes = Number(parts[1]) * (SIZE_BYTES[parts[2] ?? ""] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
});

export const address: SettingKind<Address> = kind("an address such as 0.0.0.0:9080 or [::1]:9080", (input) => {
  const parts = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:/\s[\]]+)):(\d{1,5})$/.exec(asText(input));
  if (!parts) return undefined;
  const host = parts[1] ?? parts[2] ?? "";
  const port = Number(parts[3]);
  if (port > 65_535 || (parts[1] !== undefined ? isIP(host) !== 6 : !isHost(host))) return undefined;
  return { host, port };
});

/** How an address is written; IPv6 in brackets. */
export function formatAddress(at: Address): string {
  return `${at.host.includes(":") ? `[${at.host}]` : at.host}:${at.port}`;
}

/** Whether only this machine can reach a listener there. */
export function isLoopback(at: Address): boolean {
  const host = at.host.toLowerCase();
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** A base address of an etcd member: scheme, host and port, nothing else; above all no user and password. */
export const origin: SettingKind<string> = kind(
  "an address such as http://10.0.0.1:2379 (no user, no path)",
  (input) => {
    const written = asText(input);
    if (!/^https?:\/\/[^\s@?#]+$/.test(written) || !URL.canParse(written)) return undefined;
    const url = new URL(written);
    return url.pathname === "/" && url.hostname !== "" ? url.origin : undefined;
  },
);

export const hostName: SettingKind<string> = kind("a host name such as status.example.com", (input) =>
  typeof input === "string" && isHost(input) ? input.toLowerCase() : undefined,
);

const WEB_ORIGIN = /^https?:\/\/(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/;

/** on or off, or a list of what browsers send as Origin. */
export const onOffOrOrigins: SettingKind<boolean | readonly string[]> = kind(
  "on, off, or a list of origins such as https://dashboard.example.com",
  (input) => {
    const word = Array.isArray(input) && input.length === 1 ? input[0] : input;
    const isOn = onOff.read(word);
    if (isOn !== undefined) return isOn;
    const origins = (Array.isArray(input) ? input.flatMap(splitText) : splitText(input)).map((one) =>
      asText(one).toLowerCase(),
    );
    return origins.length > 0 && origins.every((one) => WEB_ORIGIN.test(one)) ? origins : undefined;
  },
  { list: true, flag: true },
);

export const ipRange: SettingKind<string> = kind("an IP address or range such as 10.0.0.0/8", (input) =>
  ipListError([input]) === undefined ? (input as string) : undefined,
);

/** An IP address or range, or `unix:` for peers on a unix socket. */
export const ipRangeOrUnix: SettingKind<string> = kind(`${ipRange.wants}, or unix:`, (input) =>
  input === "unix:" ? input : ipRange.read(input),
);

export const resolver: SettingKind<string> = kind(
  "an IP address, with or without a port, such as 10.0.0.2:53",
  (input) => {
    const written = asText(input);
    if (isIP(written) !== 0) return written;
    const at = address.read(written);
    return at && isIP(at.host) !== 0 && at.port > 0 ? written : undefined;
  },
);

export const workerCount: SettingKind<number | "auto"> = kind("an integer from 1 to 256, or auto", (input) =>
  input === "auto" ? input : integer(1, 256).read(input),
);

/** Many values of one kind: a YAML list, comma-separated text, or a flag given several times. */
export function listOf<Value>(item: SettingKind<Value>): SettingKind<readonly Value[]> {
  return kind(
    `a list, each ${item.wants}`,
    (input) => {
      const given = Array.isArray(input) ? input.flatMap(splitText) : splitText(input);
      const values = given.map((one) => item.read(one));
      return values.every((value) => value !== undefined) ? values : undefined;
    },
    { list: true },
  );
}

/** A value of another shape, read from YAML as it is or from JSON text. */
export function structure<Value>(wants: string, accepts: (value: unknown) => value is Value): SettingKind<Value> {
  return kind(wants, (input) => {
    const value = typeof input === "string" ? parseText(input) : input;
    return accepts(value) ? value : undefined;
  });
}

/** The same, read into a shape of its own. */
export function structured<Value>(wants: string, read: (value: unknown) => Value | undefined): SettingKind<Value> {
  return kind(wants, (input) => read(typeof input === "string" ? parseText(input) : input));
}

function splitText(input: unknown): readonly unknown[] {
  if (typeof input !== "string") return [input];
  return input
    .split(/[,\n]/)
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function parseText(input: string): unknown {
  try {
    return JSON.parse(input);
  } catch {
    return undefined; // the caller says what it expected; the text may hold secrets
  }
}

function isHost(host: string): boolean {
  if (/^[\d.]+$/.test(host)) return isIP(host) === 4;
  return /^[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,251}[a-zA-Z0-9])?$/.test(host);
}

function asText(input: unknown): string {
  return typeof input === "string" ? input : "";
}

const COUNTED = ["http_status", "http_latency", "bandwidth"] as const;
const BUILT_IN_LABEL =
  "(?:code|route|matched_uri|matched_host|service|consumer|node|type|response_source|request_type|request_llm_model|llm_model|le)";
const CountedMetric = Type.Object(
  {
    extra_labels: Type.Optional(
      Type.Array(
        Type.Record(
          Type.String({ pattern: `^(?!__)(?!${BUILT_IN_LABEL}$)[a-zA-Z_][a-zA-Z0-9_]{0,63}$` }),
          Type.String({ pattern: "^\\$[a-zA-Z0-9_.-]{1,128}$" }),
          { minProperties: 1, maxProperties: 1, additionalProperties: false },
        ),
        { maxItems: 10 },
      ),
    ),
    expire: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_000_000 })),
  },
  { additionalProperties: false },
);
/** By metric: labels added to it, each one member `{label: "$variable"}`, and the seconds a series lives unchanged. */
type CountedMetrics = Readonly<Partial<Record<(typeof COUNTED)[number], Static<typeof CountedMetric>>>>;
const CountedMetricsSchema = Type.Object(
  Object.fromEntries(COUNTED.map((name) => [name, Type.Optional(CountedMetric)])),
  { additionalProperties: false },
);
export const countedMetrics = structure(
  "by http_status, http_latency or bandwidth: extra_labels, a list of {label: $variable} with new label names, and expire, seconds",
  (value): value is CountedMetrics =>
    compileSchema(CountedMetricsSchema).check(value) === undefined &&
    Object.values(value as object).every(hasOwnLabels),
);

/** No label may be there twice. */
function hasOwnLabels({ extra_labels: labels = [] }: Static<typeof CountedMetric>): boolean {
  const names = labels.flatMap(Object.keys);
  return new Set(names).size === names.length;
}
