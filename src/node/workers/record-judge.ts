/**
 * Tells which records the workers will refuse, so that the last-known-good file, which the primary writes, keeps the
 * last good value of those, and acknowledgements name them. Nothing is compiled; no name is looked up, no upstream asked.
 */

import type { RecordRefusal } from "../../cluster/acknowledge.ts";
import { parseKey } from "../../model/keys.ts";
import { isPlaceholder, type StoredValue } from "../../model/record.ts";
import type { PluginHost } from "../../runtime/plugins/plugin-unit.ts";
import { REFUSALS_MAX, shownReason } from "../../runtime/problems.ts";
import { missingPlugins } from "../../runtime/record-checks.ts";
import { type VerdictChecks, verdictOn } from "../../runtime/record-verdict.ts";
import type { RecordConsumer } from "../../sync/table.ts";

interface RecordJudge extends RecordConsumer {
  /** The newest ones. */
  refusals(): readonly RecordRefusal[];
  /** Takes what only workers find out, and each of them says. */
  note(refusals: readonly RecordRefusal[]): void;
}

/**
 * For a table of the primary.
 * @param issuerTaken called with each issuer of tokens that workers take, and undefined when it goes
 */
export function openRecordJudge(
  prefix: string,
  env: VerdictChecks & Pick<PluginHost, "mayBeMissing">,
  issuerTaken: (id: string, value: StoredValue | undefined) => void = () => undefined,
): RecordJudge {
  let refusals: RecordRefusal[] = [];
  const note = (refusal: RecordRefusal): void => {
    refusals = [...refusals.slice(1 - REFUSALS_MAX), refusal];
  };
  return {
    refusals: () => refusals,
    note(found) {
      for (const one of found)
        if (!refusals.some(({ key, revision }) => key === one.key && revision === one.revision)) note(one);
    },
    apply({ changes }, taken) {
      const refused: string[] = [];
      for (const { key: storeKey, kv } of changes) {
        const key = parseKey(prefix, storeKey);
        if (key?.kind === "token_issuer" && kv === undefined) issuerTaken(key.id, undefined);
        if (!key || kv === undefined) continue;
        if (isPlaceholder(kv.value)) {
          if (taken.get(storeKey) !== undefined) refused.push(storeKey); // as workers do
          continue;
        }
        const { modRevision: revision } = kv;
        const read = verdictOn(key, kv.value, env);
        if (!read.ok) {
          refused.push(storeKey);
          note({ key: storeKey, revision, reason: shownReason(read.problem) });
          continue;
        }
        if (key.kind === "token_issuer") issuerTaken(key.id, read.value);
        for (const { blocks, reason } of missingPlugins(key.kind, read.value["plugins"], env)) {
          if (blocks) note({ key: storeKey, revision, reason });
        }
      }
      return refused;
    },
  };
}
