/**
 * Waiting for facts, with a bound: what tests use in place of sleeping.
 */
export async function until(
  fact: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 5_000,
  everyMs = 5,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await fact())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
