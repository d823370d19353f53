/**
 * Records of signing keys on their way to whoever signs: references are resolved, and a newer version that cannot be used
 * leaves the former in place and is a problem.
 */
import { messageOf } from "../base/errors.ts";
import type { AuthorizationServer } from "../model/authorization-server-record.ts";
import type { StoredValue } from "../model/record.ts";
import type { SigningKey } from "../model/signing-key.ts";
import type { AuthorizationServers } from "../plugin/tokens.ts";
import { referencesIn, type SecretUsers, withSecrets } from "./plugins/secret-source.ts";

/** What keeps authorization servers and their keys; floors of one height do not meet. */
export interface ServerSink extends AuthorizationServers {
  readonly serverCount: number;
  readonly keyCount: number;
  /** @param record has passed all checks; undefined: it is gone */
  setServer(id: string, record: AuthorizationServer | undefined): void;
  /** @throws CodedError RECORD_INVALID for a key that cannot be used */
  setKey(id: string, record: SigningKey | undefined): void;
}

export interface SigningRecords {
  setServer(id: string, value: StoredValue | undefined): void;
  setKey(id: string, value: StoredValue | undefined): void;
}

/** @param report what is wrong with a key, and undefined when nothing is */
export function openSigningRecords(
  sink: ServerSink | undefined,
  secrets: SecretUsers,
  report: (id: string, problem: string | undefined) => void,
): SigningRecords {
  const uses = new Map<string, () => void>();
  const take = (id: string, value: unknown): void => {
    try {
      sink?.setKey(id, value as SigningKey); // it has passed the checks of its kind, its reference aside
      report(id, undefined);
    } catch (error) {
      report(id, messageOf(error));
    }
  };
  const resolve = (id: string, value: StoredValue, references: readonly string[]): void => {
    const known = secrets.peek(references);
    if (known) {
      take(id, withSecrets(value, known));
      return;
    }
    const mine = uses.get(id);
    void secrets.resolve(references).then((values) => {
      if (uses.get(id) !== mine) return; // changed or gone meanwhile
      if (values) take(id, withSecrets(value, values));
      else report(id, `unresolved: ${references.join(", ")}`);
    });
  };
  return {
    setServer: (id, value) => sink?.setServer(id, value as AuthorizationServer | undefined), // as above
    setKey(id, value) {
      uses.get(id)?.();
      uses.delete(id);
      if (value === undefined) {
        sink?.setKey(id, undefined);
        return;
      }
      const references = referencesIn(value["private_key"]);
      if (references.length === 0) {
        take(id, value);
        return;
      }
      uses.set(
        id,
        secrets.use(references, () => resolve(id, value, references)),
      );
      resolve(id, value, references);
    },
  };
}
