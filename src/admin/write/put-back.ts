/**
 * What GET shows can be put back: times that are the record's own are taken off, what was masked or left out (private keys of
 * certificates) becomes again what is stored.
 * Promise: nothing stands for a secret but at the very place where it was shown, beside the certificate it belongs to.
 */
import { isMembers, type Members, own } from "../../base/json/members.ts";
import type { Kind } from "../../model/kinds.ts";
import { replaceNamed } from "../../model/named-secrets.ts";
import { replaceSecrets } from "../../model/secret-fields.ts";
import type { RuleSide } from "../admin-context.ts";
import { MASK, masked } from "../read/masking.ts";

/** Whether `putBack` would look at what is stored. */
export function mayComeBack(kind: Kind, value: Members): boolean {
  if (TIMES.some((name) => own(value, name) !== undefined)) return true;
  if (kind.name === "ssl" && own(value, "key") === undefined) return true;
  return holdsMask(value);
}

/** @param previous what the record is now, opened @returns the value as it was meant; times that are not the record's stay */
export function putBack({ catalog }: RuleSide, kind: Kind, value: Members, previous: Members | undefined): Members {
  if (!previous || !mayComeBack(kind, value)) return value;
  const unmasked = holdsMask(value) ? (unmask(value, masked(catalog, kind, previous), previous) as Members) : value;
  return withKeys(kind, withoutOwnTimes(unmasked, previous), previous);
}

const TIMES = ["create_time", "update_time"] as const;

/**
 * Reads show both times. Somebody may have written since, so that an older time of update is the record's own too, but none
 * from before the record.
 */
function withoutOwnTimes(value: Members, previous: Members): Members {
  const { create_time: created, update_time: updated, ...rest } = value;
  const isOwn =
    created === previous["create_time"] &&
    (updated === undefined ||
      (isTime(updated) && updated >= Number(created) && updated <= Number(previous["update_time"])));
  return isOwn ? rest : value;
}

function isTime(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0;
}

/** Reads never show private keys: where the certificates are the stored ones, so are their keys. */
function withKeys(kind: Kind, value: Members, previous: Members): Members {
  if (kind.name !== "ssl") return value;
  const kept: Record<string, unknown> = {};
  for (const [cert, key] of [
    ["cert", "key"],
    ["certs", "keys"],
  ] as const) {
    if (own(value, key) !== undefined || own(previous, key) === undefined) continue;
    if (own(value, cert) !== undefined && isSame(value[cert], previous[cert])) kept[key] = previous[key];
  }
  return { ...value, ...kept };
}

function unmask(value: unknown, shown: unknown, previous: unknown): unknown {
  if (typeof value === "string") return value.includes(MASK) && value === shown ? previous : value;
  if (Array.isArray(value)) {
    return value.map((item, at) => unmask(item, itemOf(shown, at), itemOf(previous, at)));
  }
  if (!isMembers(value)) return value;
  const from = (holder: unknown, name: string): unknown => (isMembers(holder) ? own(holder, name) : undefined);
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [name, unmask(one, from(shown, name), from(previous, name))]),
  );
}

function itemOf(list: unknown, at: number): unknown {
  return Array.isArray(list) ? list[at] : undefined;
}

/** Whether the mask of secrets stands anywhere in it. */
export function holdsMask(value: unknown): boolean {
  if (typeof value === "string") return value.includes(MASK);
  return typeof value === "object" && value !== null && Object.values(value).some(holdsMask);
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** @param previous what the record is now, opened @returns why the value cannot be taken */
export function maskError(
  { catalog }: RuleSide,
  kind: Kind,
  value: Members,
  previous: Members | undefined,
): string | undefined {
  const masked = (members: Members): ReadonlySet<string> => {
    const paths = new Set<string>();
    const fields = (name: string, side: "route" | "consumer") => catalog.get(name)?.encryptFields(side) ?? [];
    replaceSecrets(kind, members, fields, (text, { path }) => {
      if (text === MASK) paths.add(path);
      return text;
    });
    replaceNamed(kind, members, catalog.declared, (text, path, isWhole) => {
      if (isWhole ? text === MASK : text.includes(MASK)) paths.add(path);
      return text;
    });
    return paths;
  };
  const known = previous ? masked(previous) : new Set<string>(); // it may really be that
  const [path] = [...masked(value)].filter((one) => !known.has(one));
  if (path === undefined) return undefined;
  return `${path} is ${MASK}, which stands for a secret where it was shown, and nowhere else: send the secret, or leave it out of a PATCH`;
}
