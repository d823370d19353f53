/**
 * What a plugin's environment is made of in tests: credentials, states kept by key, a log that is read back.
 */
import type { Fields, Log } from "../../base/log.ts";
import type { StateRegistry } from "../plugin.ts";
import type { Consumer, Credential, CredentialTable } from "../plugin-consumer.ts";

export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly fields: Fields;
  readonly message: string;
}

export class TestTable implements CredentialTable {
  readonly #byKey = new Map<string, TestCredential>();
  readonly #all = new Set<TestCredential>();
  #pending: (() => Promise<void>) | undefined;

  get size(): number {
    return this.#all.size;
  }

  get(key: string): Credential | undefined {
    return this.#byKey.get(key);
  }

  of(username: string): readonly Credential[] {
    return [...this.#all].filter((one) => one.consumer.username === username && this.get(one.key) === one);
  }

  resolvePending(): Promise<void> | undefined {
    const resolve = this.#pending;
    this.#pending = undefined;
    return resolve?.();
  }

  setPending(resolve: () => Promise<void>): void {
    this.#pending = resolve;
  }

  add(consumer: Consumer, credentialId: string | undefined, key: string, data: unknown): void {
    const credential: TestCredential = { consumer, credentialId, key, data, current: true, usedIn: 0 };
    this.#byKey.set(key, credential);
    this.#all.add(credential);
  }

  drop(username: string): void {
    for (const credential of this.#all) {
      if (credential.consumer.username !== username) continue;
      credential.current = false;
      this.#all.delete(credential);
      if (this.#byKey.get(credential.key) === credential) this.#byKey.delete(credential.key);
    }
  }
}

interface TestCredential extends Credential {
  current: boolean;
}

export class TestStates implements StateRegistry {
  readonly #states = new Map<string, { readonly state: unknown; uses: number; readonly close: () => void }>();

  get size(): number {
    return this.#states.size;
  }

  hold<T>(key: string, make: () => T, close?: (state: T) => void): { readonly state: T; release(): void } {
    let entry = this.#states.get(key);
    if (!entry) {
      const state = make();
      entry = { state, uses: 0, close: () => close?.(state) };
      this.#states.set(key, entry);
    }
    const held = entry;
    held.uses++;
    let released = false;
    return {
      // True: whoever holds under this key made it with the same `make`.
      state: held.state as T,
      release: () => {
        if (released) return;
        released = true;
        if (--held.uses > 0) return;
        this.#states.delete(key);
        held.close();
      },
    };
  }
}

export function recordingLog(lines: LogLine[], base: Fields): Log {
  const at = (level: LogLine["level"]) => (fields: Fields, message: string) => {
    lines.push({ level, fields: { ...base, ...fields }, message });
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => recordingLog(lines, { ...base, ...fields }),
  };
}
