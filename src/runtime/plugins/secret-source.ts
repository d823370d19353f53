/**
 * References in configurations and who rests on them. Values come from floor `secret`, a sibling, which is handed in.
 * Promise: whoever uses a reference hears of each change of its value; a reference nobody uses any more is let go.
 */

import { messageOf } from "../../base/errors.ts";
import { isReference, parseReference } from "../../base/reference.ts";
import type { PhaseResult, PluginPhases } from "../../plugin/plugin.ts";
import { bareAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";

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

/**
 * Phases of a plugin whose configuration holds secret references: resolved at first use, compiled again when a value
 * has changed. Promise: a request is answered 503 rather than let through on an unresolved reference.
 * Source: docs/spec/secrets.md sections 2, 5 and 6.
 */
interface SecretPhasesInput {
  readonly conf: unknown;
  /** At least one. */
  readonly references: readonly string[];
  readonly secrets: SecretUsers;
  /** Checks and compiles a configuration without references; may throw. */
  compile(conf: unknown): PluginPhases;
  /** Resolved, but unusable; said once per set of values. */
  failed(reason: string): void;
}

const UNRESOLVED = bareAnswer(503, "secret_unresolved");

export function openSecretPhases(input: SecretPhasesInput): PluginPhases {
  const compiled = new CompiledSecrets(input);
  return {
    rewrite: (view) => compiled.run("rewrite", view),
    access: (view) => compiled.run("access", view),
    beforeProxy: (view) => compiled.latest?.beforeProxy?.(view),
    headerFilter: (view, response) => compiled.latest?.headerFilter?.(view, response),
    log: (view) => compiled.latest?.log?.(view),
    close: () => compiled.close(),
  };
}

type RequestPhase = "rewrite" | "access";
type Values = ReadonlyMap<string, unknown> | undefined;

class CompiledSecrets {
  /** Compiled with the values known last; undefined before the first and when they were unusable. */
  latest: PluginPhases | undefined;
  readonly #input: SecretPhasesInput;
  readonly #release: () => void;
  /** Whether a value may be another than `latest` was compiled with. */
  #isStale = true;
  #compiledWith = "";
  #isClosed = false;

  constructor(input: SecretPhasesInput) {
    this.#input = input;
    this.#release = input.secrets.use(input.references, () => {
      this.#isStale = true;
    });
  }

  run(phase: RequestPhase, view: RequestView): PhaseResult {
    if (!this.#isStale) return this.latest ? this.latest[phase]?.(view) : UNRESOLVED;
    const { secrets, references } = this.#input;
    const values = secrets.peek(references);
    if (values) return this.#runWith(values, phase, view);
    return secrets.resolve(references).then((known) => this.#runWith(known, phase, view));
  }

  close(): void {
    this.#isClosed = true;
    this.#release();
    this.latest?.close?.();
  }

  #runWith(values: Values, phase: RequestPhase, view: RequestView): PhaseResult {
    if (!values) return UNRESOLVED;
    this.#compile(values);
    return this.latest ? this.latest[phase]?.(view) : UNRESOLVED;
  }

  #compile(values: ReadonlyMap<string, unknown>): void {
    this.#isStale = false;
    const text = JSON.stringify([...values]);
    if (text === this.#compiledWith) return;
    this.#compiledWith = text;
    const before = this.latest;
    try {
      this.latest = this.#input.compile(withSecrets(this.#input.conf, values));
    } catch (error) {
      this.latest = undefined;
      this.#input.failed(messageOf(error));
    }
    before?.close?.();
    if (this.#isClosed) this.latest?.close?.();
  }
}
