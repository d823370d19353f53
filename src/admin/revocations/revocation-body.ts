/**
 * What the body of `POST /revocations` asks for: tokens by fingerprint, and rules.
 * Promise: all of it is understood or nothing is done; a token is read, and nothing of it goes further than its
 * fingerprint and its end; no text of an error holds a part of one.
 */
import {
  type Claims,
  type Fingerprint,
  fingerprintOfId,
  fingerprintOfText,
  openTokenParser,
} from "../../base/jose/token.ts";
import { isMembers, type Members } from "../../base/json/members.ts";
import {
  endOfHour,
  HOUR_UNKNOWN,
  hourOf,
  type RevocationRule,
  type RuleType,
  UNTIL_MAX,
} from "../../model/revocation.ts";

export interface WantedToken {
  readonly hour: number;
  readonly fingerprint: Fingerprint;
  readonly until: number;
}

export type WantedRule = Omit<RevocationRule, "writtenMs">;

export type Wanted = { readonly tokens: readonly WantedToken[] } | { readonly rule: WantedRule };

export interface Times {
  readonly nowSeconds: number;
  /** As long after its end is a token remembered. */
  readonly keepSeconds: number;
}

export const parseToken = openTokenParser();

const DAY_SECONDS = 86_400;
/** Of a token that was named without its end. */
const UNKNOWN_END_SECONDS = 30 * DAY_SECONDS;
/** No issuer says how long its tokens can live. */
const LONGEST_LIFE_SECONDS = 400 * DAY_SECONDS;
/** Later than this it is not a time but a mistake, mostly milliseconds. */
const AHEAD_SECONDS = DAY_SECONDS;
const TEXT_MAX = 4_096;
const REASON_MAX = 256;

/** What an entry may say beside what it revokes. */
const WITH_RULE = ["issued_before", "reason"];
const FORMS: readonly (readonly [member: string, beside: readonly string[], needs?: "issuer"])[] = [
  ["token", []],
  ["jti", ["issuer", "exp"], "issuer"],
  ["consumer", WITH_RULE],
  ["client_id", WITH_RULE],
  ["subject", ["issuer", ...WITH_RULE], "issuer"],
  ["kid", ["issuer"], "issuer"],
  ["issuer", WITH_RULE],
];
const RULE_TYPE_OF: Readonly<Record<string, RuleType>> = {
  ...{ consumer: "consumer", client_id: "client", subject: "subject", kid: "kid", issuer: "issuer" },
};

/** @returns text: what is wrong with the entry */
export function readWanted(entry: unknown, times: Times): Wanted | string {
  if (!isMembers(entry)) return "an object is expected";
  const members = entry as Members;
  const form = FORMS.find(([name]) => Object.hasOwn(members, name));
  if (!form) return "nothing to revoke: expected token, jti, consumer, client_id, subject, kid or issuer";
  const [name, beside, needs] = form;
  if (needs !== undefined && !Object.hasOwn(members, needs)) return `${name} needs ${needs}`;
  const other = Object.keys(members).find((member) => member !== name && !beside.includes(member));
  if (other !== undefined) return `${name} cannot be together with ${JSON.stringify(other.slice(0, 64))}`;
  const wrong = [name, ...(needs === undefined ? [] : [needs])].map((one) => textError(members, one)).find(Boolean);
  if (wrong !== undefined) return wrong;
  if (name === "token") return wantedToken(String(members["token"]), times);
  if (name === "jti") return wantedId(members, times);
  return wantedRule(name, members, times);
}

function textError(members: Members, name: string): string | undefined {
  const value = members[name];
  if (value === "") return `${name} is empty`;
  if (typeof value !== "string") return `${name} should be a text`;
  if (name === "token") return undefined; // the parser has its own bound
  if (value.length > TEXT_MAX) return `${name} is longer than ${TEXT_MAX} characters`;
  return value.includes("\0") ? `${name} holds a NUL` : undefined;
}

function wantedToken(text: string, times: Times): Wanted | string {
  const parsed = parseToken(text);
  if (!parsed) return "token is not a JSON Web Token in its compact form";
  const end = endOf(parsed.payload["exp"], times);
  // Where the issuer is trusted by its name its tokens are known by their id, elsewhere by their text.
  return { tokens: fingerprintsOf(text, parsed.payload).map((fingerprint) => ({ ...end, fingerprint })) };
}

/** Both names that a token can have here. */
export function fingerprintsOf(text: string, { iss, jti }: Claims): readonly Fingerprint[] {
  const isNamed = typeof iss === "string" && typeof jti === "string";
  return isNamed ? [fingerprintOfText(text), fingerprintOfId(iss, jti)] : [fingerprintOfText(text)];
}

function wantedId(members: Members, times: Times): Wanted | string {
  const { exp } = members;
  if (exp !== undefined && !isTime(exp)) return "exp should be a number of seconds since 1970";
  const fingerprint = fingerprintOfId(String(members["issuer"]), String(members["jti"]));
  const until = times.nowSeconds + UNKNOWN_END_SECONDS;
  if (exp === undefined) return { tokens: [{ hour: HOUR_UNKNOWN, until, fingerprint }] };
  return { tokens: [{ ...endOf(exp, times), fingerprint }] };
}

/** Where the token is looked for, and until when; one without an end is remembered for ever. */
function endOf(exp: unknown, { nowSeconds, keepSeconds }: Times): { readonly hour: number; readonly until: number } {
  const hour = hourOf(exp);
  if (hour === HOUR_UNKNOWN) return { hour, until: UNTIL_MAX };
  // Its hour is forgotten already; where a grace period keeps it alive it must be known all the same.
  if (endOfHour(hour) + keepSeconds <= nowSeconds) {
    return { hour: HOUR_UNKNOWN, until: nowSeconds + UNKNOWN_END_SECONDS };
  }
  return { hour, until: Math.min(UNTIL_MAX, Math.ceil(Number(exp))) };
}

function wantedRule(name: string, members: Members, { nowSeconds }: Times): Wanted | string {
  const { issued_before: given, reason } = members;
  if (given !== undefined && !isTime(given)) return "issued_before should be a number of seconds since 1970";
  if (typeof given === "number" && given > nowSeconds + AHEAD_SECONDS) {
    return "issued_before is more than a day ahead: it is in seconds since 1970, and refuses tokens that are older";
  }
  if (reason !== undefined && (typeof reason !== "string" || reason.length > REASON_MAX)) {
    return `reason should be a text of at most ${REASON_MAX} characters`;
  }
  const type = RULE_TYPE_OF[name] as RuleType; // true: the forms of rules are its members
  const base = { type, value: String(members[name]), ...(typeof reason === "string" && { reason }) };
  // A key that leaked signs tokens for ever, with any `iat`.
  if (type === "kid") return { rule: { ...base, issuer: String(members["issuer"]), until: UNTIL_MAX } };
  const issuedBefore = Math.ceil(typeof given === "number" ? given : nowSeconds + 1);
  const issuer = type === "subject" ? { issuer: String(members["issuer"]) } : {};
  return { rule: { ...base, ...issuer, issuedBefore, until: issuedBefore + LONGEST_LIFE_SECONDS } };
}

function isTime(value: unknown): boolean {
  return typeof value === "number" && value >= 0 && value <= UNTIL_MAX;
}
