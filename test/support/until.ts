/**
 * Waiting for facts, with a bound: what tests use in place of sleeping.
 */
import { patience } from "./long-run.ts";

export async function until(
  fact: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs?: number,
  everyMs = 5,
): Promise<void> {
  const bound = patience(timeoutMs);
  const end = performance.now() + bound;
  while (!(await fact())) {
    if (performance.now() > end) throw new Error(`not within ${bound} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
