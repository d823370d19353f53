/**
 * The field codec without a keyring: values are stored as they are, identifying values are indexed by a hash.
 */
import { createHash } from "node:crypto";
import { isSealed } from "../../base/keyring.ts";
import { replaceSealed } from "../../model/named-secrets.ts";
import { type PluginFields, replaceSecrets } from "../../model/secret-fields.ts";
import type { FieldCodec } from "./field-codec.ts";

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
