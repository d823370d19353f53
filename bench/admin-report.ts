/**
 * What the Admin API costs beside a big table, as Markdown. Pure.
 */
import type { AdminCosts } from "./admin.ts";

export function adminLines(costs: AdminCosts): string[] {
  return [
    "## Admin API beside a big table",
    "",
    `${costs.routes} routes, ${costs.consumers} consumers; the admin on core 0, etcd on core 1.`,
    "",
    `| ${costs.writes} calls, one after the other | CPU of the admin per call, ms |`,
    "|---|---|",
    ...costs.calls.map(({ what, cpuMs }) => `| ${what} | ${cpuMs.toFixed(2)} |`),
    "",
    "DELETE includes the PUT of what is deleted, and asks whether anything still uses it.",
    "",
    "| List | MiB sent | took, ms | CPU, ms | memory grew by, MiB |",
    "|---|---|---|---|---|",
    ...costs.lists.map(
      (one) =>
        `| ${one.what} | ${one.mib.toFixed(1)} | ${one.tookMs.toFixed(0)} | ${one.cpuMs.toFixed(0)} | ${one.growthMib.toFixed(0)} |`,
    ),
    "",
    "A list is read from the store and written page by page: a client that stops reading stops the reading, and is not buffered for.",
    "",
    `Indexing the keys of ${costs.consumers} consumers that others wrote, once, in the background: ${(costs.indexMs / 1_000).toFixed(1)} s.`,
  ];
}
