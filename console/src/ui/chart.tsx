/**
 * Lines over time with axes, by uPlot, which draws on a canvas; what it shows is said in words too. Loaded when a chart is shown.
 */
import { type ReactNode, useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Series {
  readonly name: string;
  /** Null: nothing was measured then. */
  readonly values: readonly (number | null)[];
}

interface ChartProps {
  readonly title: string;
  /** Seconds since 1970, ascending. */
  readonly times: readonly number[];
  readonly series: readonly Series[];
  /** A value in words, such as `3 ms`. */
  readonly print: (value: number) => string;
}

const HEIGHT = 190;
/** Of the style sheet, so that both themes have them. */
const COLOURS = ["--accent", "--bad", "--warn", "--good", "--line-5", "--line-6"];

/** The colour as it is now: a canvas knows no variables. */
function colour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const seen = getComputedStyle(probe).color;
  probe.remove();
  return seen;
}

// biome-ignore lint/style/noDefaultExport: React.lazy wants one
export default function Chart(props: ChartProps): ReactNode {
  const { title, times, series, print } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const names = series.map(({ name }) => name).join("\n");
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const parent = host.current;
    if (!parent) return;
    const value = (_: uPlot, shown: number | null): string => (shown === null ? "–" : latest.current.print(shown));
    const axis: uPlot.Axis = { stroke: () => colour("--muted"), grid: { stroke: () => colour("--line"), width: 1 } };
    const options: uPlot.Options = {
      ...{ width: parent.clientWidth, height: HEIGHT, cursor: { drag: { setScale: false } } },
      scales: { y: { range: (_, __, top) => [0, top > 0 ? top * 1.1 : 1] } },
      axes: [
        { ...axis, space: 70 },
        { ...axis, size: 74, values: (_, ticks) => ticks.map((tick) => latest.current.print(tick)) },
      ],
      series: [
        { label: "Time" },
        ...names.split("\n").map((label, at) => ({
          ...{ label, value, width: 1.5, spanGaps: false, points: { show: false } },
          stroke: () => colour(COLOURS[at % COLOURS.length] ?? "--text"),
        })),
      ],
    };
    const made = new uPlot(options, dataOf(latest.current), parent);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: parent.clientWidth, height: HEIGHT }));
    resized.observe(parent);
    return () => {
      resized.disconnect();
      made.destroy();
    };
  }, [names]);

  useEffect(() => {
    plot.current?.setData(dataOf({ times, series }));
  }, [times, series]);

  return (
    <figure className="chart">
      <figcaption>{title}</figcaption>
      <div ref={host} role="img" aria-label={`${title}: ${inWords(series, print)}`} />
    </figure>
  );
}

function dataOf({ times, series }: Pick<ChartProps, "times" | "series">): uPlot.AlignedData {
  return [[...times], ...series.map(({ values }) => [...values])];
}

function inWords(series: readonly Series[], print: (value: number) => string): string {
  return series
    .map(({ name, values }) => {
      const measured = values.filter((value) => value !== null);
      const last = values.at(-1);
      if (measured.length === 0) return `${name} none`;
      return `${name} now ${last === null || last === undefined ? "none" : print(last)}, at most ${print(Math.max(...measured))}`;
    })
    .join("; ");
}
