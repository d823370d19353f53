/**
 * A line of one series; what it says in numbers stands beside it.
 */
import type { ReactNode } from "react";

const WIDTH = 240;
const HEIGHT = 40;

export function Sparkline(props: { readonly points: readonly number[]; readonly label: string }): ReactNode {
  const { points } = props;
  const top = Math.max(...points, 1e-9);
  const step = WIDTH / Math.max(1, points.length - 1);
  const line = points.map(
    (value, at) => `${(at * step).toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`,
  );
  return (
    <svg
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={props.label}
      className="spark"
    >
      {points.length > 1 && <polyline points={line.join(" ")} />}
    </svg>
  );
}
