/**
 * One credential as the table of its plugin holds it: who it belongs to, its key, and what requests are verified with,
 * which is made when it is first found (a key object costs more memory than all the rest of a consumer).
 */
import { messageOf } from "../../base/errors.ts";
import { withDefaults } from "../../base/schema/schema-defaults.ts";
import type { AnyCredential, NodeEnv } from "../../plugin/plugin.ts";
import type { Consumer, Credential } from "../../plugin/plugin-consumer.ts";
import type { SecretUsers } from "../plugins/secret-source.ts";
import type { Problems } from "../problems.ts";

/** A credential's configuration as its record has it. */
export type CredentialConf = Readonly<Record<string, unknown>>;

/** The record that carries a credential. */
export interface CredentialRecord {
  /** Store key, for problems and for ties. */
  readonly key: string;
  readonly modRevision: bigint;
  /** Create revision: of two credentials with one key the earlier created is found. */
  readonly order: number;
}

/** What a record has put into a table. */
export interface CredentialHandle {
  remove(): void;
}

export interface CredentialHost {
  readonly env: NodeEnv;
  readonly secrets: SecretUsers;
  readonly problems: Problems;
}

export class CredentialUnit implements Credential {
  readonly consumer: Consumer;
  readonly credentialId: string | undefined;
  readonly record: CredentialRecord;
  readonly key: string;
  /** Whether look-ups find it: it is in the table and no earlier one has its key. */
  current = false;
  usedIn = 0;
  data: unknown = undefined;
  state: "new" | "compiled" | "unusable" = "new";
  readonly #conf: CredentialConf;

  /** @param conf references resolved, defaults not filled */
  constructor(
    consumer: Consumer,
    credentialId: string | undefined,
    record: CredentialRecord,
    key: string,
    conf: CredentialConf,
  ) {
    this.consumer = consumer;
    this.credentialId = credentialId;
    this.record = record;
    this.key = key;
    this.#conf = conf;
  }

  /** Makes `data`. @returns why it cannot be used, though it passed every check; it stays so */
  compile(definition: AnyCredential, env: NodeEnv): string | undefined {
    try {
      this.data = definition.compile(withDefaults(definition.schema, this.#conf), env);
      this.state = "compiled";
      return undefined;
    } catch (error) {
      this.state = "unusable";
      return messageOf(error);
    }
  }
}
