/**
 * What was asked of the Admin API and what it answered, one line per write, and writers that fill it.
 * Promise: an answer counts as a definite error only when the product said so; a broken connection is an unknown outcome.
 */
import { ADMIN_KEY } from "./process.ts";

export interface LedgerEntry {
  readonly op: "put" | "patch" | "delete";
  /** Store key. */
  readonly key: string;
  /** In the record as `desc`; of deletes it is only a name. */
  readonly nonce: string;
  readonly sentMs: number;
  readonly answeredMs: number;
  /** 0: the connection broke. */
  readonly status: number;
  readonly outcome: "done" | "refused" | "unknown";
  readonly text: string;
}

export interface AdminOrigin {
  /** `http://127.0.0.1:port` */
  readonly admin: string;
}

const ANSWER_MS = 30_000;

export class Ledger {
  readonly entries: LedgerEntry[] = [];
  #nonces = 0;

  nonce(): string {
    return `n${++this.#nonces}-${Math.random().toString(36).slice(2, 10)}`;
  }

  get done(): number {
    return this.entries.filter(({ outcome }) => outcome === "done").length;
  }

  /** One write of a record that carries `desc`; never throws. */
  async write(
    node: AdminOrigin,
    op: LedgerEntry["op"],
    path: string,
    body: Readonly<Record<string, unknown>> = {},
  ): Promise<LedgerEntry> {
    const nonce = this.nonce();
    const sentMs = performance.now();
    let status = 0;
    let text = "";
    try {
      const answer = await fetch(`${node.admin}/apisix/admin${path}`, {
        method: op.toUpperCase(),
        headers: { "X-API-KEY": ADMIN_KEY },
        signal: AbortSignal.timeout(ANSWER_MS),
        ...(op === "delete" ? {} : { body: JSON.stringify({ ...body, desc: nonce }) }),
      });
      text = await answer.text();
      status = answer.status; // only with the whole answer
    } catch (error) {
      text = error instanceof Error ? `${error.message} ${String(error.cause ?? "")}` : String(error);
    }
    const entry: LedgerEntry = {
      op,
      key: `/apisix${path}`,
      nonce,
      sentMs,
      answeredMs: performance.now(),
      status,
      outcome: outcomeOf(status, text),
      text: text.slice(0, 500),
    };
    this.entries.push(entry);
    return entry;
  }
}

function outcomeOf(status: number, text: string): LedgerEntry["outcome"] {
  if (status >= 200 && status < 300) return "done";
  return status === 0 || text.includes('"outcome":"unknown"') ? "unknown" : "refused";
}

export interface Writer {
  /** Finishes the write under way. */
  stop(): Promise<void>;
}

/**
 * Writes its own few routes one after the other, for as long as it runs: puts, patches and deletes.
 * @param everyMs pause between two writes
 * @param node asked for each write, since admins are killed and started again
 */
export function startWriter(ledger: Ledger, name: string, node: () => AdminOrigin, everyMs = 20): Writer {
  let stopped = false;
  let wake: () => void = () => {};
  const run = async (): Promise<void> => {
    for (let i = 0; !stopped; i++) {
      const path = `/routes/${name}-${i % 7}`;
      if (i % 11 === 10) await ledger.write(node(), "delete", path);
      else if (i % 5 === 4) await ledger.write(node(), "patch", path);
      else await ledger.write(node(), "put", path, recordOf(`/${name}/${i % 7}`));
      if (everyMs > 0 && !stopped)
        await new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, everyMs);
        });
    }
  };
  const running = run();
  return {
    async stop() {
      stopped = true;
      wake();
      await running;
    },
  };
}

/** A route that needs no upstream. */
export function recordOf(uri: string): Readonly<Record<string, unknown>> {
  return { uri, plugins: { mocking: { response_example: "written" } } };
}
