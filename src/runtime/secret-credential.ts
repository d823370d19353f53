/**
 * A credential whose configuration holds secret references: resolved when a key is missed for the first time, kept for
 * a while, asked for again in the background. Promise: what cannot be resolved is in no table.
 * Source: secrets.md sections 5 and 6.
 */
import { parseReference } from "../base/reference.ts";
import { compileSchema } from "../base/schema.ts";
import type { Consumer } from "../plugin/consumer.ts";
import type { AnyCredential } from "../plugin/plugin.ts";
import {
  type CredentialConf,
  type CredentialHandle,
  type CredentialHost,
  type CredentialRecord,
  CredentialUnit,
} from "./credential-unit.ts";
import { referencesIn, withSecrets } from "./secret-source.ts";

/** How long a resolved value is used without asking again. */
export const KEEP_MS = 300_000;
/** How long a failure is believed. */
export const RETRY_MS = 60_000;

/** The table as its secret credentials see it. */
export interface SecretTable {
  readonly plugin: string;
  readonly host: CredentialHost;
  insert(unit: CredentialUnit): void;
  extract(unit: CredentialUnit): void;
  /** To be resolved at the next miss. */
  setPending(secret: SecretCredential): void;
  /** To be tried again at the first miss after `retryAtMs`. */
  setFailed(secret: SecretCredential): void;
  forget(secret: SecretCredential): void;
}

export interface SecretCredentialInput {
  readonly definition: AnyCredential;
  readonly consumer: Consumer;
  readonly credentialId: string | undefined;
  readonly record: CredentialRecord;
  readonly conf: CredentialConf;
}

export class SecretCredential implements CredentialHandle {
  retryAtMs = 0;
  readonly #table: SecretTable;
  readonly #input: SecretCredentialInput;
  readonly #references: readonly string[];
  /** `manager/id` of every reference that is not of the environment. */
  readonly #managers: ReadonlySet<string>;
  #unit: CredentialUnit | undefined;
  /** The values behind the unit, as text to compare. */
  #resolved = "";
  #resolvedAtMs = 0;
  #isRefreshing = false;
  /** Counts what makes answers under way worthless. */
  #turn = 0;

  constructor(table: SecretTable, input: SecretCredentialInput) {
    this.#table = table;
    this.#input = input;
    this.#references = referencesIn(input.conf);
    this.#managers = new Set(this.#references.flatMap(managerOf));
  }

  /** References to the environment are resolved now and for good; others wait for the first miss. */
  begin(): void {
    if (this.#managers.size > 0) this.#table.setPending(this);
    else this.#take(this.#references.map((reference) => this.#table.host.secrets.resolve(reference)));
  }

  /** Asks the source; settles when the table knows the outcome, never rejects. */
  async resolve(): Promise<void> {
    const turn = this.#turn;
    const { secrets } = this.#table.host;
    const values = await Promise.all(this.#references.map((reference) => secrets.resolve(reference)));
    if (turn === this.#turn) this.#take(values);
  }

  /** The unit was found: values that are old are asked for again, and serve meanwhile. */
  used(): void {
    if (this.#managers.size === 0 || this.#isRefreshing) return;
    if (this.#table.host.env.clock.monotonicMs() - this.#resolvedAtMs < KEEP_MS) return;
    this.#isRefreshing = true;
    void this.#refresh();
  }

  /** @param manager `vault/jwt` */
  restsOn(manager: string): boolean {
    return this.#managers.has(manager);
  }

  /** Back to the beginning: nothing is found until the next miss has resolved it. */
  reset(): void {
    this.#turn++;
    this.#isRefreshing = false;
    this.#dropUnit();
    this.#table.setPending(this);
  }

  remove(): void {
    this.#turn++;
    this.#dropUnit();
    this.#table.host.problems.clear(this.#input.record.key, this.#topic);
    this.#table.forget(this);
  }

  get #topic(): `secret ${string}` {
    return `secret ${this.#table.plugin}`;
  }

  async #refresh(): Promise<void> {
    const turn = this.#turn;
    const { secrets } = this.#table.host;
    const values = await Promise.all(
      this.#references.map((reference) =>
        isOfManager(reference) ? secrets.refresh(reference) : secrets.resolve(reference),
      ),
    );
    if (turn !== this.#turn) return;
    this.#isRefreshing = false;
    this.#take(values);
  }

  #take(values: readonly unknown[]): void {
    const { host } = this.#table;
    const { record, consumer, credentialId } = this.#input;
    const now = host.env.clock.monotonicMs();
    const made = this.#conclude(values);
    if ("problem" in made) {
      this.#dropUnit();
      this.retryAtMs = now + RETRY_MS;
      if (this.#managers.size > 0) this.#table.setFailed(this);
      host.problems.set(record.key, this.#topic, record.modRevision, made.problem);
      return;
    }
    this.#resolvedAtMs = now;
    host.problems.clear(record.key, this.#topic);
    const text = JSON.stringify(values);
    if (this.#unit && text === this.#resolved) return;
    this.#dropUnit();
    this.#resolved = text;
    this.#unit = new SecretUnit(consumer, credentialId, record, made.key, made.conf, this);
    this.#table.insert(this.#unit);
  }

  #conclude(
    values: readonly unknown[],
  ): { readonly problem: string } | { readonly key: string; readonly conf: CredentialConf } {
    const { plugin } = this.#table;
    const { definition } = this.#input;
    const missing = values.findIndex((value) => value === undefined || value === null);
    // The reference names a place, not a value, so it may be told.
    if (missing >= 0) return { problem: `its ${plugin} is unresolved: ${this.#references[missing]}` };
    const known = new Map(this.#references.map((reference, at) => [reference, values[at]]));
    // True: a copy of an object is an object.
    const conf = withSecrets(this.#input.conf, known) as CredentialConf;
    const key = conf[definition.keyAttribute];
    if (compileSchema(definition.schema).check(conf) !== undefined || typeof key !== "string" || key === "") {
      return { problem: `its ${plugin} does not satisfy the schema once its references are resolved` };
    }
    return { key, conf };
  }

  #dropUnit(): void {
    if (this.#unit) this.#table.extract(this.#unit);
    this.#unit = undefined;
    this.#resolved = "";
  }
}

class SecretUnit extends CredentialUnit {
  readonly #secret: SecretCredential;

  constructor(
    consumer: Consumer,
    credentialId: string | undefined,
    record: CredentialRecord,
    key: string,
    conf: CredentialConf,
    secret: SecretCredential,
  ) {
    super(consumer, credentialId, record, key, conf);
    this.#secret = secret;
  }

  override used(): void {
    this.#secret.used();
  }
}

function isOfManager(reference: string): boolean {
  const parsed = parseReference(reference);
  return typeof parsed === "object" && parsed.kind === "secret";
}

function managerOf(reference: string): string[] {
  const parsed = parseReference(reference);
  return typeof parsed === "object" && parsed.kind === "secret" ? [`${parsed.manager}/${parsed.id}`] : [];
}
