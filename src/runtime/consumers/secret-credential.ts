/**
 * A credential whose configuration holds secret references. Those to the environment are resolved when the record
 * comes; those to managers when a key is missed for the first time, and from then on follow their values.
 * Promise: what is not resolved is in no table. Source: docs/spec/secrets.md sections 5 and 6.
 */
import { compileSchema } from "../../base/schema/schema.ts";
import type { AnyCredential } from "../../plugin/plugin.ts";
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import { managerOf, referencesIn, withSecrets } from "../plugins/secret-source.ts";
import {
  type CredentialConf,
  type CredentialHandle,
  type CredentialHost,
  type CredentialRecord,
  CredentialUnit,
} from "./consumer-unit.ts";

/** The table as its secret credentials see it. */
export interface SecretTable {
  readonly plugin: string;
  readonly host: CredentialHost;
  insert(unit: CredentialUnit): void;
  extract(unit: CredentialUnit): void;
  /** To be resolved at the next miss. */
  setPending(secret: SecretCredential): void;
  forget(secret: SecretCredential): void;
}

interface SecretCredentialInput {
  readonly definition: AnyCredential;
  readonly consumer: Consumer;
  readonly credentialId: string | undefined;
  readonly record: CredentialRecord;
  readonly conf: CredentialConf;
}

type Values = ReadonlyMap<string, unknown> | undefined;

export class SecretCredential implements CredentialHandle {
  readonly #table: SecretTable;
  readonly #input: SecretCredentialInput;
  readonly #references: readonly string[];
  /** `manager/id` of every reference that is not of the environment. */
  readonly #managers: ReadonlySet<string | undefined>;
  #release: (() => void) | undefined;
  #unit: CredentialUnit | undefined;
  /** The values behind the unit, as text to compare. */
  #resolved = "";
  #isPending = false;
  /** Counts what makes an answer under way worthless. */
  #turn = 0;

  constructor(table: SecretTable, input: SecretCredentialInput) {
    this.#table = table;
    this.#input = input;
    this.#references = referencesIn(input.conf);
    this.#managers = new Set(this.#references.map(managerOf));
  }

  get plugin(): string {
    return this.#table.plugin;
  }

  get unit(): CredentialUnit | undefined {
    return this.#unit;
  }

  begin(): void {
    const { secrets } = this.#table.host;
    this.#release = secrets.use(this.#references, () => this.#follow());
    const isOfManager = this.#references.some((reference) => managerOf(reference) !== undefined);
    if (isOfManager) this.#setPending();
    else this.#take(secrets.peek(this.#references));
  }

  /** Asks for the values; settles when the table knows the outcome, never rejects. */
  async resolve(): Promise<void> {
    const turn = this.#turn;
    const values = await this.#table.host.secrets.resolve(this.#references);
    if (turn === this.#turn) this.#take(values);
  }

  /** @param manager `vault/jwt` */
  restsOn(manager: string): boolean {
    return this.#managers.has(manager);
  }

  /** Back to the beginning: nothing is found until the next miss has resolved it. */
  reset(): void {
    this.#turn++;
    this.#dropUnit();
    this.#setPending();
  }

  remove(): void {
    this.#turn++;
    this.#release?.();
    this.#dropUnit();
    this.#table.host.problems.clear(this.#input.record.key, this.#topic);
    this.#table.forget(this);
  }

  get #topic(): `secret ${string}` {
    return `secret ${this.#table.plugin}`;
  }

  #setPending(): void {
    this.#isPending = true;
    this.#table.setPending(this);
  }

  /** A value became another. While pending, the next miss asks anyway. */
  #follow(): void {
    if (!this.#isPending) this.#take(this.#table.host.secrets.peek(this.#references));
  }

  #take(values: Values): void {
    this.#isPending = false;
    const { problems } = this.#table.host;
    const { record, consumer, credentialId } = this.#input;
    const made = this.#conclude(values);
    if (typeof made === "string") {
      this.#dropUnit();
      problems.set(record.key, this.#topic, record.modRevision, made);
      return;
    }
    problems.clear(record.key, this.#topic);
    const text = JSON.stringify(made.conf);
    if (this.#unit && text === this.#resolved) return;
    this.#dropUnit();
    this.#resolved = text;
    this.#unit = new CredentialUnit(consumer, credentialId, record, made.key, made.conf);
    this.#table.insert(this.#unit);
  }

  /** @returns the credential with its references resolved, or why there is none */
  #conclude(values: Values): { readonly key: string; readonly conf: CredentialConf } | string {
    const { plugin } = this.#table;
    const { definition } = this.#input;
    // References name places, not values, so they may be told.
    if (!values) return `its ${plugin} is unresolved: ${this.#references.join(", ")}`;
    // True: a copy of an object is an object.
    const conf = withSecrets(this.#input.conf, values) as CredentialConf;
    const key = conf[definition.keyAttribute];
    if (compileSchema(definition.schema).check(conf) === undefined && typeof key === "string" && key !== "") {
      return { key, conf };
    }
    return `its ${plugin} does not satisfy the schema once its references are resolved`;
  }

  #dropUnit(): void {
    if (this.#unit) this.#table.extract(this.#unit);
    this.#unit = undefined;
    this.#resolved = "";
  }
}
