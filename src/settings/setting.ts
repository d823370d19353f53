/**
 * One setting as a TypeBox schema that knows how it is written, and the type of all settings derived from the tree.
 * Promise: what the documentation, the reader and the program know about a setting is said in one place.
 */
import { type Static, type TObject, type TProperties, type TUnsafe, Type } from "typebox";
import type { SettingKind } from "./setting-kinds.ts";

/** Whether a running node takes a new value: always, only from one value to another, or by a restart. */
type TakenAnew = "yes" | "while set" | "no";

/** What the sources and the documentation need to know of one setting. */
export interface SettingDefinition<Suffix extends string = string> {
  readonly kind: SettingKind<unknown, Suffix>;
  readonly description: string;
  /** The default as a user would write it; undefined: the setting is absent, `unset` says what that means. */
  readonly defaultText: string | undefined;
  readonly unset: string | undefined;
  /** `off` is a value that means "none". */
  readonly switchable: boolean;
  /** Never shown in messages; can also be given as `…_file`, the path of a file that holds it. */
  readonly secret: boolean;
  readonly reload: TakenAnew;
  /** Other names, as YAML paths: `etcd` for `etcd.hosts`. */
  readonly aliases: readonly string[];
}

/** A leaf of the settings tree. */
export type Setting<Value, Suffix extends string = ""> = TUnsafe<Value> & {
  readonly setting: SettingDefinition<Suffix>;
};

interface SettingMore {
  readonly secret?: boolean;
  /** Default: no. */
  readonly reload?: TakenAnew;
  readonly aliases?: readonly string[];
}

/** A setting with a default, written as a user would write it. */
export function setting<Value, Suffix extends string>(
  kind: SettingKind<Value, Suffix>,
  defaultText: string,
  description: string,
  more: SettingMore = {},
): Setting<Value, Suffix> {
  return leaf(kind, { description, defaultText, unset: undefined, switchable: false, ...more });
}

/** A setting that may be absent; `unset` says what happens then. */
export function optional<Value, Suffix extends string>(
  kind: SettingKind<Value, Suffix>,
  unset: string,
  description: string,
  more: SettingMore = {},
): Setting<Value | undefined, Suffix> {
  return leaf(kind, { description, defaultText: undefined, unset, switchable: false, ...more });
}

/** A setting that `off` turns off; the program then sees undefined. */
export function switchable<Value, Suffix extends string>(
  kind: SettingKind<Value, Suffix>,
  defaultText: string,
  description: string,
  more: SettingMore = {},
): Setting<Value | undefined, Suffix> {
  return leaf(kind, { description, defaultText, unset: undefined, switchable: true, ...more });
}

/** Settings below a common name. */
export function group<Tree extends TProperties>(description: string, tree: Tree): TObject<Tree> {
  return Type.Object(tree, { description });
}

function leaf<Value, Suffix extends string>(
  kind: SettingKind<Value, Suffix>,
  facts: Omit<SettingDefinition, "kind" | "secret" | "reload" | "aliases"> & SettingMore,
): Setting<Value | undefined, Suffix> & Setting<Value, Suffix> {
  const full: SettingDefinition<Suffix> = { secret: false, reload: "no", aliases: [], ...facts, kind };
  // True: TypeBox keeps members it does not know; the value type is that of the kind's reader.
  return Type.Unsafe<Value>({ description: facts.description, setting: full }) as never;
}

type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

type ProgramName<Name extends string, Schema> = Schema extends { readonly setting: SettingDefinition<infer Suffix> }
  ? `${CamelCase<Name>}${Suffix}`
  : CamelCase<Name>;

/** The settings as the program sees them: `limits.idle_timeout` is `limits.idleTimeoutMs`. */
export type SettingValues<Tree extends TProperties> = {
  readonly [Name in keyof Tree & string as ProgramName<Name, Tree[Name]>]: Tree[Name] extends TObject<infer Group>
    ? SettingValues<Group>
    : Static<Tree[Name]>;
};

/** The program's name of a setting or a group. */
export function programName(name: string, suffix: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()) + suffix;
}
