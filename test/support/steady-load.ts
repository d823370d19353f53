/**
 * An open-loop client: so many requests a second whatever the answers, half of them on connections of their own, half on
 * kept ones. Every request is accounted for.
 */
import { Agent, request } from "node:http";

export interface LoadResult {
  readonly sent: number;
  /** How often each status was answered. */
  readonly statuses: Readonly<Record<string, number>>;
  /** One text per request that was not answered. */
  readonly failures: readonly string[];
}

export interface Load {
  /** Requests answered so far. */
  answered(): number;
  /** Sends no more, waits for what is under way. */
  stop(): Promise<LoadResult>;
}

const ANSWER_MS = 15_000;
const KEPT_CONNECTIONS = 20;

export function startLoad(url: string, perSecond: number): Load {
  const kept = new Agent({ keepAlive: true, maxSockets: KEPT_CONNECTIONS });
  const statuses: Record<string, number> = {};
  const failures: string[] = [];
  const startedMs = performance.now();
  let sent = 0;
  let open = 0;
  let answered = 0;

  const send = (): void => {
    const isKept = sent++ % 2 === 0;
    open++;
    const outgoing = request(url, { agent: isKept ? kept : false, timeout: ANSWER_MS }, (incoming) => {
      incoming.resume();
      incoming.on("end", () => {
        const status = String(incoming.statusCode);
        statuses[status] = (statuses[status] ?? 0) + 1;
        answered++;
        open--;
      });
      incoming.on("error", failed);
    });
    const failed = (error: Error): void => {
      const used = outgoing.reusedSocket ? "used" : "fresh";
      failures.push(`${isKept ? "kept" : "single"} ${used}: ${error.message}`);
      open--;
    };
    outgoing.on("timeout", () => outgoing.destroy(new Error("no answer")));
    outgoing.on("error", failed);
    outgoing.end();
  };
  const timer = setInterval(() => {
    const due = Math.min(50, ((performance.now() - startedMs) * perSecond) / 1_000 - sent);
    for (let i = 0; i < due; i++) send();
  }, 2);
  return {
    answered: () => answered,
    async stop() {
      clearInterval(timer);
      while (open > 0) await new Promise((next) => setTimeout(next, 10));
      kept.destroy();
      return { sent, statuses, failures };
    },
  };
}
