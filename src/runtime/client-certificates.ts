/**
 * Client certificates that upstreams show (`client_cert_id`): ssl records of type client, their references resolved.
 * Promise: what is found can be used; a newer version of a record that cannot be used leaves the former in place and is a
 * problem, and of a record that is no client certificate (any more) there is only the reason.
 */
import type { StoredValue } from "../model/record.ts";
import { referencesIn, type SecretUsers } from "./plugins/secret-source.ts";
import { type CertificatePair, clientPairError } from "./upstream/upstream-settings.ts";

export interface ClientCertificates {
  /** @param value undefined when the record went */
  set(id: string, value: StoredValue | undefined): void;
  /** PEM texts, or why there are none. */
  find(id: string): CertificatePair | string;
}

interface ClientCertificatesOptions {
  readonly secrets: SecretUsers;
  /** What is found under this id is another now. */
  changed(id: string): void;
  /** What is wrong with a record, and undefined when nothing is. */
  report(id: string, problem: string | undefined): void;
}

interface CertificateEntry {
  readonly pair: CertificatePair | undefined;
  readonly problem: string;
  readonly release: () => void;
}

export function openClientCertificates({ secrets, changed, report }: ClientCertificatesOptions): ClientCertificates {
  const entries = new Map<string, CertificateEntry>();
  const refresh = (id: string, value: StoredValue, references: readonly string[], release: () => void): void => {
    const former = entries.get(id)?.pair;
    const take = (values: ReadonlyMap<string, unknown> | undefined, problem: string): void => {
      const read = values ? readPair(value, values) : problem;
      const isGood = typeof read === "object";
      const entry = { pair: isGood ? read : former, problem: isGood ? "" : read, release };
      entries.set(id, entry);
      report(id, isGood ? undefined : `client certificate: ${read}`);
    };
    const known = references.length === 0 ? new Map<string, unknown>() : secrets.peek(references);
    // References name places, not values, so they may be told.
    take(known, `unresolved: ${references.join(", ")}`);
    if (known) return;
    const waiting = entries.get(id);
    void secrets.resolve(references).then((values) => {
      if (!values || entries.get(id) !== waiting) return;
      take(values, "");
      changed(id);
    });
  };
  return {
    set(id, value) {
      const before = entries.get(id);
      before?.release();
      if (value?.["type"] !== "client") {
        if (before) report(id, undefined);
        if (value) entries.set(id, { pair: undefined, problem: "it is not of type client", release: nothing });
        else entries.delete(id);
        return;
      }
      const references = referencesIn([value["cert"], value["key"]]);
      const release = references.length === 0 ? nothing : secrets.use(references, () => renew());
      const renew = (): void => {
        refresh(id, value, references, release);
        changed(id);
      };
      refresh(id, value, references, release);
    },
    find(id) {
      const entry = entries.get(id);
      return entry === undefined ? "there is no such ssl record" : (entry.pair ?? entry.problem);
    },
  };
}

function readPair(value: StoredValue, values: ReadonlyMap<string, unknown>): CertificatePair | string {
  const [cert, key] = [value["cert"], value["key"]].map((one) =>
    typeof one === "string" && values.has(one) ? values.get(one) : one,
  );
  if (typeof cert !== "string" || typeof key !== "string") return "certificate and key must be texts";
  return clientPairError({ cert, key }) ?? { cert, key };
}

const nothing = (): void => {};
