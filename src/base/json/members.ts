/** An object of JSON as it was read, before any schema has judged it. Only own members count: a key named `__proto__` is data. */
export type Members = Readonly<Record<string, unknown>>;

/** An object that its owner is still filling. */
export type WritableMembers = Record<string, unknown>;

const NOTHING: Members = Object.freeze(Object.create(null) as Members);

/** An object of JSON: no null, no array. */
export function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The member, if it is the value's own. */
export function own<Value>(value: Readonly<Record<string, Value>> | undefined, name: string): Value | undefined {
  return value !== undefined && Object.hasOwn(value, name) ? value[name] : undefined;
}

/** The member as an object's members; an empty one when it is none. */
export function ownMembers(value: Members | undefined, name: string): Members {
  return membersOr(own(value, name));
}

/** The value itself when it is an object; an empty one when it is none. */
export function membersOr(value: unknown): Members {
  return isMembers(value) ? value : NOTHING;
}

/** The object a text of JSON is; undefined when the text is no JSON or another value. */
export function parseMembers(text: string): Members | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isMembers(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
