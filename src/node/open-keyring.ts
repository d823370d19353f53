/**
 * The keyring that the settings name, for whoever seals or opens fields of records.
 */
import { type Keyring, openKeyring } from "../base/keyring.ts";
import type { Settings } from "../settings/settings.ts";

/** undefined: no keyring, fields are stored as they are. */
export function keyringOf({ encryption }: Settings): Keyring | undefined {
  return encryption.keyring.length === 0 ? undefined : openKeyring(encryption.keyring, encryption.format);
}
