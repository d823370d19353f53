/**
 * References in configurations and who rests on them. Values come from floor `secret`, a sibling, which is handed in.
 * Promise: whoever uses a reference hears of each change of its value; a reference nobody uses any more is let go.
 */
import { isReference, parseReference } from "../../base/reference.ts";

/** What is asked of the resolver (secret/resolver.ts, which also keeps held references up to date). */
export interface SecretSource {
  /** Rejects when there is no value. */
  resolve(reference: string): Promise<unknown>;
  /** The value if it is known now; asks nobody but, for `$ENV://`, the environment. */
  peek(reference: string): unknown;
  /** Keeps references read from their first reading on. @returns lets go of them */
  hold(references: readonly string[]): () => void;
  /** A record under /secrets; undefined when it went. */
  setConf(manager: string, id: string, record: unknown): void;
  /** Told references whose value became another, or came, or went. @returns stops it */
  onChange(listener: (reference: string) => void): () => void;
}

type User = () => void;

/** All uses of references on this node. */
export class SecretUsers {
  readonly #source: SecretSource;
  readonly #users = new Map<string, Set<User>>();
  readonly #stop: () => void;

  constructor(source: SecretSource) {
    this.#source = source;
    this.#stop = source.onChange((reference) => {
      for (const user of [...(this.#users.get(reference) ?? [])]) user();
    });
  }

  /** @param changed told of each change; not of the first reading @returns ends the use */
  use(references: readonly string[], changed: User): () => void {
    const release = this.#source.hold(references);
    for (const reference of references) {
      const users = this.#users.get(reference) ?? new Set();
      this.#users.set(reference, users.add(changed));
    }
    return () => {
      release();
      for (const reference of references) {
        const users = this.#users.get(reference);
        users?.delete(changed);
        if (users?.size === 0) this.#users.delete(reference);
      }
    };
  }

  /** The values by reference; undefined when one is not known now. */
  peek(references: readonly string[]): ReadonlyMap<string, unknown> | undefined {
    const values = new Map<string, unknown>();
    for (const reference of references) {
      const value = this.#source.peek(reference);
      if (value === undefined || value === null) return undefined;
      values.set(reference, value);
    }
    return values;
  }

  /** The values by reference, asked for where they are not known; undefined when one has none. Never rejects. */
  async resolve(references: readonly string[]): Promise<ReadonlyMap<string, unknown> | undefined> {
    const values = new Map<string, unknown>();
    try {
      await Promise.all(references.map(async (one) => values.set(one, await this.#source.resolve(one))));
    } catch {
      return undefined; // the resolver has logged why
    }
    return [...values.values()].some((value) => value === null || value === undefined) ? undefined : values;
  }

  /** @param id `vault/jwt` */
  setRecord(id: string, record: unknown): void {
    const slash = id.indexOf("/");
    this.#source.setConf(id.slice(0, slash), id.slice(slash + 1), record);
  }

  close(): void {
    this.#stop();
  }
}

/** Every reference among the strings of a configuration, each once. */
export function referencesIn(conf: unknown): readonly string[] {
  const found: string[] = [];
  collect(conf, found);
  return found.length === 0 ? NONE : [...new Set(found)];
}

const NONE: readonly string[] = Object.freeze([]);

function collect(value: unknown, found: string[]): void {
  if (typeof value === "string") {
    if (isReference(value)) found.push(value);
  } else if (typeof value === "object" && value !== null) {
    for (const name in value) collect((value as Record<string, unknown>)[name], found);
  }
}

/** A copy with references replaced. @param values all of them */
export function withSecrets(conf: unknown, values: ReadonlyMap<string, unknown>): unknown {
  if (typeof conf === "string") return values.has(conf) ? values.get(conf) : conf;
  if (Array.isArray(conf)) return conf.map((item) => withSecrets(item, values));
  if (typeof conf !== "object" || conf === null) return conf;
  return Object.fromEntries(Object.entries(conf).map(([name, value]) => [name, withSecrets(value, values)]));
}

/** `manager/id` of a reference to a secret manager; undefined for `$ENV://` and for what can never be resolved. */
export function managerOf(reference: string): string | undefined {
  const parsed = parseReference(reference);
  return typeof parsed === "object" && parsed.kind === "secret" ? `${parsed.manager}/${parsed.id}` : undefined;
}
