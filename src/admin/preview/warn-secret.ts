/**
 * Warnings about secret managers that cannot be asked, found by asking them: in dry runs only, a few and for a short time.
 */
import { parseReference } from "../../base/reference.ts";
import { referencesIn } from "../../runtime/plugins/secret-source.ts";
import type { SecretQuestion } from "../../secret/secret-probe.ts";
import type { ReadSide, RecordChange } from "../admin-context.ts";
import type { ConfigView } from "./config-view.ts";
import type { Warning } from "./warnings.ts";

const ASKED_MAX = 8;
/** Asked for when a manager's own record is written: that there is no such secret is an answer, too. */
const ANY_KEY = "jotgate/reachable";

interface Asked extends SecretQuestion {
  readonly change: RecordChange;
  readonly what: string;
  /** Whether only silence is a fault. */
  readonly isAnyKey: boolean;
}

export async function secretWarnings(
  admin: ReadSide,
  changes: readonly RecordChange[],
  after: ConfigView,
): Promise<readonly Warning[]> {
  const { askSecrets } = admin;
  if (!askSecrets) return [];
  const asked: Asked[] = [];
  for (const change of changes) asked.push(...(await questionsOf(change, after)));
  const shown = asked.slice(0, ASKED_MAX);
  const faults = shown.length === 0 ? [] : await askSecrets(shown);
  return shown.flatMap(({ change, what, isAnyKey }, at): Warning[] => {
    const fault = faults[at];
    if (fault === undefined || (isAnyKey && fault.kind === "absent")) return [];
    const message = `${what} cannot be read by this admin node (${fault.why}): every gateway node needs it`;
    return [{ code: "secret_unreadable", key: change.key, message }];
  });
}

async function questionsOf(change: RecordChange, after: ConfigView): Promise<readonly Asked[]> {
  const { kind, id, candidate } = change;
  if (!candidate) return [];
  if (kind.name === "secret") {
    const manager = id.slice(0, id.indexOf("/"));
    return [{ change, what: `the secret manager ${id}`, manager, record: candidate, key: ANY_KEY, isAnyKey: true }];
  }
  const asked: Asked[] = [];
  for (const what of referencesIn(candidate)) {
    const reference = parseReference(what);
    if (typeof reference === "string" || reference.kind !== "secret") continue;
    const { manager, key } = reference;
    const record = (await after.all("secret")).get(`${manager}/${reference.id}`)?.value;
    // Without a record the reference dangles, which is said elsewhere.
    if (record) asked.push({ change, what, manager, record, key, isAnyKey: false });
  }
  return asked;
}
