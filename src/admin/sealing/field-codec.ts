/**
 * The seam where secret members are sealed before a value is stored and opened after it is read.
 * Without a keyring nothing is sealed.
 */

import { createHash } from "node:crypto";
import { isSealed } from "../../base/keyring.ts";
import type { Kind } from "../../model/kinds.ts";
import { replaceSealed } from "../../model/named-secrets.ts";
import { type PluginFields, replaceSecrets } from "../../model/secret-fields.ts";
import type { Members } from "../read/stored-record.ts";

export type Resealed =
  /** All of it is under the first key, or there is nothing to seal. */
  | { readonly kind: "current" }
  /** `doubtful`: places of texts that were taken as plain and may be sealed by a key that is not in the keyring. */
  | { readonly kind: "resealed"; readonly value: Members; readonly doubtful: readonly string[] }
  | { readonly kind: "unopenable"; readonly reason: string };

export interface FieldCodec {
  /** Whether anything is ever sealed; when not, stored private keys are plain and are not echoed. */
  readonly seals: boolean;
  /** What is stored. What is sealed already stays as it is. */
  seal(kind: Kind, id: string, value: Members): Members;
  /** A stored value with its secrets as `seal` seals them now, whatever key, format or none they are under. */
  reseal(kind: Kind, id: string, stored: Members): Resealed;
  /** What was sealed; members that no key opens stay sealed. */
  open(kind: Kind, id: string, value: Members): Members;
  /** As `open`, but for private keys, which are shown to nobody. */
  openShown(kind: Kind, id: string, value: Members): Members;
  /**
   * What a client means: sealed members it was once shown, and sends back, are opened.
   * @param stored what the record is now, as stored @returns or why a member cannot be taken
   */
  openGiven(
    kind: Kind,
    id: string,
    value: Members,
    stored: Members | undefined,
  ): { readonly value: Members } | { readonly error: string };
  /** The plain text of a sealed private key of this record, or undefined when no key of the ring opens it. */
  openKey(kind: Kind, id: string, text: string): string | undefined;
  /** Digests of an identifying value, the one to write with first; all of them name the same thing. */
  digests(text: string): readonly string[];
  /** Whether a digest is one of those that `digests` makes now. */
  owns(digest: string): boolean;
}

export function plainCodec(fields: PluginFields): FieldCodec {
  return {
    seals: false,
    seal: (_kind, _id, value) => value,
    reseal: () => ({ kind: "current" }),
    open: (_kind, _id, value) => value,
    openShown: (_kind, _id, value) => value,
    openGiven(kind, _id, value) {
      let error: string | undefined;
      replaceSecrets(kind, value, fields, (text, { path }) => {
        if (isSealed(text)) error ??= `${path} is sealed, and this node has no keyring`;
        return text;
      });
      replaceSealed(kind, value, (text, path) => {
        error ??= `${path} is sealed, and this node has no keyring`;
        return text;
      });
      return error === undefined ? { value } : { error };
    },
    openKey: () => undefined,
    digests: (text) => [createHash("sha256").update(text).digest("hex")],
    owns: (digest) => /^[0-9a-f]{64}$/.test(digest),
  };
}
