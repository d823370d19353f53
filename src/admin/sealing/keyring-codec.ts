/**
 * The field codec with a keyring: secrets are sealed for their place, in our format or in APISIX's.
 * Promise: nothing is ever sealed twice; a sealed text that came from us and is sent back is the secret it was.
 * Source: docs/spec/admin-api.md section 8.
 */

import { createHash } from "node:crypto";
import type { Members } from "../../base/json/members.ts";
import { isSealed, type Keyring, looksLegacy } from "../../base/keyring.ts";
import type { Kind } from "../../model/kinds.ts";
import { type DeclaredMembers, replaceNamed, replaceSealed } from "../../model/named-secrets.ts";
import { type PluginFields, replaceSecrets, type SecretPlace } from "../../model/secret-fields.ts";
import { boundTo } from "../../runtime/field-opener.ts";

/** @param declared members that schemas name, of the plugins of this node */
export function keyringCodec(
  keyring: Keyring,
  fields: PluginFields,
  prefix: string,
  declared: DeclaredMembers,
): FieldCodec {
  const boundIn = (kind: Kind, id: string, place: SecretPlace): string =>
    boundTo(prefix, { kind: kind.name, id }, place);
  /** APISIX reads secret managers as they are. */
  const seals = (kind: Kind): boolean => keyring.format === "gcm" || kind.name !== "secret";

  const openText = (kind: Kind, id: string, text: string, place: SecretPlace): string => {
    if (place.isPem && text.startsWith("---")) return text;
    const opened = keyring.open(text, boundIn(kind, id, place));
    return opened.kind === "opened" ? opened.text : text;
  };
  const openNamed = (kind: Kind, id: string, value: Members): Members =>
    replaceSealed(kind, value, (text, path) => openText(kind, id, text, { path, isPem: false }));
  const open = (kind: Kind, id: string, value: Members): Members =>
    openNamed(
      kind,
      id,
      replaceSecrets(kind, value, fields, (text, place) => openText(kind, id, text, place)),
    );
  /** What is a secret by name or look is sealed in our own format only: APISIX would not open it. */
  const sealNamed = (kind: Kind, id: string, value: Members): Members => {
    if (keyring.format !== "gcm") return value;
    return replaceNamed(kind, value, declared, (text, path) =>
      isSealed(text) || text === "" ? text : keyring.seal(text, boundIn(kind, id, { path, isPem: false })),
    );
  };

  /** Sealed texts as they lie in the store, with what they mean. */
  const known = (kind: Kind, id: string, stored: Members | undefined): ReadonlyMap<string, string> => {
    const texts = new Map<string, string>();
    if (!stored) return texts;
    replaceSecrets(kind, stored, fields, (text, place) => {
      texts.set(`${place.path}\n${text}`, openText(kind, id, text, place));
      return text;
    });
    replaceSealed(kind, stored, (text, path) => {
      const place = `${path}\n${text}`;
      if (!texts.has(place)) texts.set(place, openText(kind, id, text, { path, isPem: false }));
      return text;
    });
    return texts;
  };

  const unopened = (text: string, { path }: SecretPlace, bound: string): string => {
    const opened = keyring.open(text, bound);
    return `${path} cannot be opened: ${opened.kind === "unopenable" ? opened.reason : "no key of the keyring fits"}`;
  };
  const reseal = (kind: Kind, id: string, stored: Members): Resealed => {
    let reason: string | undefined;
    const doubtful: string[] = [];
    const seen = new Set<string>();
    const renew = (text: string, place: SecretPlace): string => {
      const bound = boundIn(kind, id, place);
      seen.add(text);
      if (text === "" || (seals(kind) ? keyring.isCurrent(text, bound) : !isSealed(text))) return text;
      const plain = openText(kind, id, text, place);
      if (plain === text) {
        if (isSealed(text) || (place.isPem && !text.startsWith("---"))) reason ??= unopened(text, place, bound);
        else if (looksLegacy(text)) doubtful.push(place.path);
      }
      return seals(kind) ? keyring.seal(plain, bound) : plain;
    };
    const renewed = replaceSecrets(kind, stored, fields, (text, place) => {
      const again = renew(text, place);
      seen.add(again);
      return again;
    });
    const value = sealNamed(
      kind,
      id,
      replaceSealed(kind, renewed, (text, path) => {
        if (seen.has(text) || keyring.isCurrent(text, boundIn(kind, id, { path, isPem: false }))) return text;
        return renew(text, { path, isPem: false });
      }),
    );
    for (const [text, path] of leavesOf(stored, "")) {
      if (!isSealed(text) || seen.has(text) || keyring.isCurrent(text, boundIn(kind, id, { path, isPem: false })))
        continue;
      reason ??= `${path} is sealed, and no plugin of this node has a secret there`;
    }
    if (reason !== undefined) return { kind: "unopenable", reason };
    return value === stored ? { kind: "current" } : { kind: "resealed", value, doubtful };
  };

  return {
    seals: true,
    reseal,
    seal: (kind, id, value) =>
      seals(kind)
        ? sealNamed(
            kind,
            id,
            replaceSecrets(kind, value, fields, (text, place) =>
              isSealed(text) || text === "" ? text : keyring.seal(text, boundIn(kind, id, place)),
            ),
          )
        : value,
    open,
    openShown: (kind, id, value) =>
      openNamed(
        kind,
        id,
        replaceSecrets(kind, value, fields, (text, place) => (place.isPem ? text : openText(kind, id, text, place))),
      ),
    openGiven(kind, id, value, stored) {
      let error: string | undefined;
      const shown = known(kind, id, stored);
      const opened = replaceSecrets(kind, value, fields, (text, place) => {
        const meant = shown.get(`${place.path}\n${text}`);
        if (meant !== undefined && !isSealed(meant)) return meant;
        // Others may not learn, by sending it, what a text of APISIX's format hides: it is bound to no place.
        if (!isSealed(text) && !place.isPem) return text;
        const plain = openText(kind, id, text, place);
        if (isSealed(plain)) error ??= `${place.path} is sealed with another key, or for another record`;
        return plain;
      });
      const all = replaceSealed(kind, opened, (text, path) => {
        const meant = shown.get(`${path}\n${text}`) ?? openText(kind, id, text, { path, isPem: false });
        if (isSealed(meant)) error ??= `${path} is sealed with another key, or for another record`;
        return meant;
      });
      return error === undefined ? { value: all } : { error };
    },
    openKey(kind, id, text) {
      const opened = keyring.open(text, boundIn(kind, id, { path: "", isPem: true }));
      return opened.kind === "opened" ? opened.text : undefined;
    },
    digests: (text) => keyring.digests(text),
    owns: (digest) => keyring.owns(digest),
  };
}

/** Texts of a value and where they stand, as `SecretPlace.path` says it. */
function* leavesOf(value: unknown, path: string): Generator<readonly [text: string, path: string], void> {
  if (typeof value === "string") yield [value, path];
  else if (Array.isArray(value)) for (const item of value) yield* leavesOf(item, path);
  else if (typeof value === "object" && value !== null) {
    for (const [name, member] of Object.entries(value)) yield* leavesOf(member, path === "" ? name : `${path}.${name}`);
  }
}

/**
 * The seam where secret members are sealed before a value is stored and opened after it is read.
 * Without a keyring nothing is sealed.
 */
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
