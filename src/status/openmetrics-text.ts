/**
 * The OpenMetrics text format 1.0 made of Prometheus' own, piece by piece: the two differ where a family begins, and at the end.
 */
export const OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const HEAD = /^\n?# HELP (\S+) (.*)\n# TYPE \S+ (\w+)\n$/;

/** Whether the format is asked for; Prometheus names it first, with its version. */
export const wantsOpenMetrics = (accept: string | undefined): boolean =>
  /(?:^|,)\s*application\/openmetrics-text\s*(?:;(?!\s*q=0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)/i.test(accept ?? "");

/** @param chunks in Prometheus' format, a family's head only at the beginning of one */
export function* asOpenMetrics(chunks: Iterable<Buffer>): Generator<Buffer> {
  for (const chunk of chunks) {
    const from = chunk[0] === 0x0a ? 1 : 0;
    const help = chunk[from] === 0x23 ? chunk.indexOf(0x0a, from) : -1;
    const end = help < 0 ? 0 : chunk.indexOf(0x0a, help + 1) + 1;
    if (end > 0) yield Buffer.from(familyHead(chunk.toString("utf8", 0, end)), "utf8");
    yield end > 0 ? chunk.subarray(end) : chunk;
  }
  yield Buffer.from("# EOF\n");
}

/** A counter is named without its suffix; what counts under a name without one (APISIX's) has no type there. */
function familyHead(head: string): string {
  const [, sample = "", help = "", type = ""] = HEAD.exec(head) ?? [];
  const isCounter = type === "counter" && sample.endsWith("_total");
  const name = isCounter ? sample.slice(0, -"_total".length) : sample;
  const kind = type === "untyped" || (type === "counter" && !isCounter) ? "unknown" : type;
  return `# HELP ${name} ${help.replaceAll('"', '\\"')}\n# TYPE ${name} ${kind}\n`;
}
