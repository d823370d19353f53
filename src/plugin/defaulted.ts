/**
 * A member of a configuration that has a default: optional on the wire, always present once defaults are filled.
 */
import { type TSchema, Type } from "typebox";

/** Marks a schema with a `default` so: the static type says present, the schema says optional. */
export function Defaulted<S extends TSchema>(schema: S): S {
  // True: whoever reads the static type reads it after withDefaults has filled the member.
  return Type.Optional(schema) as unknown as S;
}
