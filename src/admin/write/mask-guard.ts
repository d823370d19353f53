/**
 * Notices the mask that viewers are shown when it comes back as if it were the secret: whoever copies what a viewer read
 * into a write would replace the secret by eight stars.
 */
import type { Kind } from "../../model/kinds.ts";
import { replaceNamed } from "../../model/named-secrets.ts";
import { replaceSecrets } from "../../model/secret-fields.ts";
import type { RuleSide } from "../admin-context.ts";
import { MASK } from "../read/masking.ts";
import type { Members } from "../read/stored-record.ts";

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
