/**
 * Consumers and their credentials as the data plane holds them: compiled once, looked up per request.
 * Identity matters: a credential that was changed or removed is another object, and the old one is no longer `current`.
 */
import type { Used } from "./uses.ts";

export interface Consumer extends Partial<Used> {
  readonly username: string;
  readonly groupId: string | undefined;
  /** Label `custom_id`, sent as X-Consumer-Custom-ID. */
  readonly customId: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

/** How an upstream is told who calls; the same for each request of one caller. */
export interface CallerLines {
  readonly credentialId: string | undefined;
  /** Flat [name, value, …]. */
  readonly lines: readonly string[];
  /** The same as lines of a head. */
  readonly text: string;
}

/** One credential of one plugin, ready to verify with. `data` is what the plugin's `compileCredential` returned. */
export interface Credential<Data = unknown> extends Used {
  readonly consumer: Consumer;
  /** undefined when it stands in the consumer record itself. */
  readonly credentialId: string | undefined;
  /** The resolved value of the plugin's key attribute. */
  readonly key: string;
  readonly data: Data;
  /** False as soon as the record it came from has changed, or a secret it rests on. */
  readonly current: boolean;
}

/**
 * All credentials of one plugin on this node. The object lives as long as the node; its content changes only when a
 * batch is applied or a secret reference was resolved.
 */
export interface CredentialTable<Data = unknown> {
  /** The credential whose resolved key is `key`. Cost: one Map look-up. */
  get(key: string): Credential<Data> | undefined;
  /**
   * Credentials whose secret references have not been tried yet (or whose retry is due) are resolved now.
   * @returns undefined when there is nothing to wait for, which is the normal case: call it only after a miss.
   */
  resolvePending(): Promise<void> | undefined;
  /** How many consumers and credentials carry this plugin, resolved or not. */
  readonly size: number;
}
