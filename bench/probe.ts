/**
 * A few requests of a case, one after the other, whose answers are looked at: the load generator only counts.
 */
import { readFileSync } from "node:fs";
import type { Run } from "./series.ts";
import type { Server } from "./servers.ts";

const PROBES = 8;
const PRIMED_AT_ONCE = 16;

/** @throws Error with the first answer that is not what the case expects */
export async function probe(run: Run, server: Server, requests: string): Promise<void> {
  const lines = readFileSync(requests, "utf8").trimEnd().split("\n");
  const method = run.method ?? "GET";
  for (let n = 0; n < Math.min(PROBES, lines.length); n++) {
    const [path = "/", authorization] = (lines[Math.floor((n * lines.length) / PROBES)] ?? "").split("\t");
    const answer = await fetch(server.url + path, {
      method,
      ...(authorization && { headers: { authorization } }),
      ...(run.bodyBytes && { body: "x".repeat(run.bodyBytes) }),
    });
    const body = await answer.text();
    if (answer.status !== run.expect.status) {
      throw new Error(
        `${method} ${path} is answered ${answer.status}, not ${run.expect.status}: ${body.slice(0, 200)}`,
      );
    }
    if (run.answerBytes !== undefined && body.length !== run.answerBytes) {
      throw new Error(`${method} ${path} is answered with ${body.length} bytes, not ${run.answerBytes}`);
    }
  }
}

/** Sends each request once, so that a case of known tokens does not measure first looks at them. */
export async function prime(server: Server, requests: string): Promise<void> {
  const lines = readFileSync(requests, "utf8").trimEnd().split("\n");
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let line = lines[next++]; line !== undefined; line = lines[next++]) {
      const [path = "/", authorization] = line.split("\t");
      await (await fetch(server.url + path, authorization ? { headers: { authorization } } : {})).arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: PRIMED_AT_ONCE }, lane));
}
