/**
 * The last hour of the cluster as charts.
 */
import { lazy, type ReactNode, Suspense, useMemo } from "react";
import type { Operations } from "../api/generated.ts";
import type { Series } from "../ui/chart.tsx";
import { Loading } from "../ui/parts.tsx";
import { duration, perSecond } from "../ui/units.ts";

const Chart = lazy(() => import("../ui/chart.tsx"));

type Points = Operations["getOverview"]["answer"]["points"];

/** Lines that can still be told apart. */
const REASONS_MAX = 5;

export function OverviewCharts(props: { readonly points: Points }): ReactNode {
  const { points } = props;
  const { times, requests, errors, latency } = useMemo(() => seriesOf(points), [points]);
  return (
    <Suspense fallback={<Loading />}>
      <div className="charts">
        <Chart title="Requests per second" times={times} series={requests} print={perSecond} />
        <Chart title="Errors by reason, per second" times={times} series={errors} print={perSecond} />
        <Chart title="Latency" times={times} series={latency} print={duration} />
      </div>
    </Suspense>
  );
}

function seriesOf(points: Points) {
  const line = (name: string, of: (point: Points[number]) => number | null): Series => ({
    name,
    values: points.map(of),
  });
  const sums = new Map<string, number>();
  for (const { reasons } of points)
    for (const [reason, rate] of Object.entries(reasons)) sums.set(reason, (sums.get(reason) ?? 0) + rate);
  const most = [...sums]
    .sort(([, a], [, b]) => b - a)
    .slice(0, REASONS_MAX)
    .map(([reason]) => reason);
  return {
    times: points.map(({ time }) => time),
    requests: [line("requests", (point) => point.requests)],
    errors: [
      line("5xx", (point) => point.failed),
      ...most.map((reason) => line(reason.replaceAll("_", " "), ({ reasons }) => reasons[reason] ?? 0)),
    ],
    latency: [line("p50", (point) => point.p50), line("p99", (point) => point.p99)],
  };
}
