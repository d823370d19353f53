/**
 * Judges a configuration that stands in files as the Admin API would judge its writes: each record for itself, and what must
 * hold between them.
 * Promise: what it lets through, an empty store takes; every fault names file, line and member. Needs no store.
 */
import { ownMembers } from "../../base/json/members.ts";
import type { KindName } from "../../model/kinds.ts";
import { referencesOf } from "../../model/references.ts";
import { sharedIssuer } from "../../model/token-issuer.ts";
import type { FileFault } from "../../store/file/file-document.ts";
import type { FaultPlaces, FileRecord } from "../../store/file/file-records.ts";
import { MASK } from "../read/masking.ts";
import type { CheckEnv } from "../write/candidate-check.ts";
import { holdsMask } from "../write/put-back.ts";
import { claimsOf } from "../write/unique-index.ts";
import { recordWriteError } from "./config-validate.ts";

interface JudgeFilesOptions {
  /** False: records that are missing may be in the store. */
  readonly isWhole: boolean;
  /** True: a mask stands for a secret of the store, so that such a record cannot be judged here. */
  readonly mayBeMasked: boolean;
}

export function judgeFiles(
  env: CheckEnv,
  records: readonly FileRecord[],
  places: FaultPlaces,
  { isWhole, mayBeMasked }: JudgeFilesOptions,
): readonly FileFault[] {
  const known = new Set(records.map(({ kind, id }) => `${kind.name} ${id}`));
  const between = openBetween(env);
  return records.flatMap((record) => {
    const { kind, id, value } = record;
    const isMasked = holdsMask(value);
    if (isMasked && !mayBeMasked) return [places.fault(record, MASKED)];
    const own = isMasked ? undefined : recordWriteError(env, kind, id, value);
    const missing = isWhole ? needed(record).filter((one) => !known.has(`${one.kind} ${one.id}`)) : [];
    const errors = [
      ...(own === undefined ? [] : [own]),
      ...missing.map((one) => `${one.kind.replaceAll("_", " ")} ${one.id} stands in none of the files`),
      ...(isMasked ? [] : between(record)),
    ];
    return errors.map((error) => places.fault(record, error));
  });
}

const MASKED = `${MASK} stands for a secret that a store has: write the secret, or a reference to it`;

/** Records without which it would be refused. */
export function needed({ kind, id, value }: Pick<FileRecord, "kind" | "id" | "value">): readonly {
  readonly kind: KindName;
  readonly id: string;
}[] {
  const owner = id.slice(0, Math.max(0, id.indexOf("/")));
  if (kind.name === "credential") return [{ kind: "consumer", id: owner }];
  if (kind.name === "signing_key") return [{ kind: "authorization_server", id: owner }];
  return referencesOf(kind.name, value);
}

/** What two records may not have both, as each is met for the first time. */
function openBetween({ catalog }: CheckEnv): (record: FileRecord) => readonly string[] {
  const claimed = new Map<string, FileRecord>();
  const ruled = new Map<string, FileRecord>();
  const issuers: FileRecord[] = [];
  const grouped: FileRecord[] = [];
  const takenBy = (known: Map<string, FileRecord>, name: string, record: FileRecord): FileRecord | undefined => {
    const first = known.get(name);
    if (!first) known.set(name, record);
    return first;
  };
  return (record) => {
    const { kind, value } = record;
    const errors: string[] = [];
    const plugins = ownMembers(value, "plugins");
    if (kind.pluginSide === "consumer") {
      for (const { plugin, attribute, value: identifying } of claimsOf(catalog, value)) {
        const first = takenBy(claimed, `${plugin} ${identifying}`, record);
        if (first) errors.push(`duplicate ${attribute} of plugin ${plugin}: ${shown(first)} has it too`);
      }
    }
    if (kind.name === "global_rule") {
      for (const name of Object.keys(plugins)) {
        const first = takenBy(ruled, name, record);
        if (first) errors.push(`plugin '${name}' stands in ${shown(first)} too, and may in one global rule only`);
      }
    }
    if (kind.name === "token_issuer" || kind.name === "authorization_server") {
      for (const other of issuers) {
        const shared = sharedIssuer(value, other.value);
        if (shared !== undefined) errors.push(`issuer ${shared} is already that of ${shown(other)}`);
      }
      issuers.push(record);
    }
    const groups = Object.entries(plugins).filter(([name, conf]) => catalog.get(name)?.conflict && hasGroup(conf));
    for (const [name] of groups) {
      const error = grouped
        .map((other) => ownMembers(ownMembers(other.value, "plugins"), name))
        .flatMap((other) =>
          hasGroup(other) ? (catalog.get(name)?.conflict?.(ownMembers(plugins, name), other) ?? []) : [],
        )
        .at(0);
      if (error !== undefined) errors.push(`failed to check the configuration of plugin ${name} err: ${error}`);
    }
    if (groups.length > 0) grouped.push(record);
    return errors;
  };
}

function hasGroup(conf: unknown): boolean {
  return typeof conf === "object" && conf !== null && (conf as { group?: unknown }).group !== undefined;
}

function shown({ kind, id, file, line }: FileRecord): string {
  return `${kind.name === "credential" ? "credential" : kind.dir} ${id} (${file} line ${line})`;
}
