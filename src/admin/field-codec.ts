/**
 * The seam where secret members are sealed before a value is stored and opened after it is read.
 * Without a keyring nothing is sealed.
 */
import type { Kind } from "../model/kinds.ts";
import type { Members } from "./stored.ts";

export interface FieldCodec {
  /** Whether anything is ever sealed; when not, stored private keys are plain and are not echoed. */
  readonly seals: boolean;
  seal(kind: Kind, id: string, value: Members): Members;
  open(kind: Kind, id: string, value: Members): Members;
  /** The plain text of a sealed private key, or undefined when no key of the ring opens it. */
  openKey(text: string): string | undefined;
  /** Digests of an identifying value, the one to write with first; all of them name the same thing. */
  digests(text: string): readonly string[];
}
