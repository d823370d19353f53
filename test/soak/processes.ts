/**
 * Memory, descriptors and connections of the product's processes over time, as /proc shows them.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface Watched {
  readonly name: string;
  readonly pid: number;
}

interface Course {
  readonly name: string;
  readonly pid: number;
  readonly samples: { readonly atMs: number; readonly mib: number }[];
  readonly first: Handles;
  last: Handles;
}

export interface Handles {
  readonly descriptors: number;
  readonly connections: number;
}

const WARM_UP = 0.3;
const LEAST_SAMPLES = 10;

export class ProcessWatch {
  readonly #courses = new Map<number, Course>();

  /** Looks at each of them and at their children; those that are gone are forgotten. */
  sample(watched: readonly Watched[]): void {
    const living = new Set<number>();
    const look = (name: string, pid: number): void => {
      try {
        const mib = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1_024;
        const last = handlesOf(pid);
        const course = this.#courses.get(pid) ?? { name, pid, samples: [], first: last, last };
        course.samples.push({ atMs: performance.now(), mib });
        course.last = last;
        this.#courses.set(pid, course);
        living.add(pid);
        for (const child of childrenOf(pid)) look(`${name} worker`, child);
      } catch {
        // it ended while we looked
      }
    };
    for (const { name, pid } of watched) look(name, pid);
    for (const pid of this.#courses.keys()) if (!living.has(pid)) this.#courses.delete(pid);
  }

  /** One line for each process that lives. */
  lines(): string[] {
    return [...this.#courses.values()].map(({ name, pid, samples, first, last }) => {
      const slope = slopeOf(samples.slice(Math.floor(samples.length * WARM_UP)));
      const trend =
        slope === undefined ? "lived too short for a slope" : `${slope >= 0 ? "+" : ""}${slope.toFixed(2)} MiB/min`;
      const [begin, end] = [samples[0], samples.at(-1)];
      const seconds = (((end?.atMs ?? 0) - (begin?.atMs ?? 0)) / 1_000).toFixed(0);
      return `${name} (${pid}, ${seconds} s): RSS ${begin?.mib.toFixed(0)} → ${end?.mib.toFixed(0)} MiB, ${trend}; descriptors ${first.descriptors} → ${last.descriptors}; connections ${first.connections} → ${last.connections}`;
    });
  }

  /** The steepest slope of all, MiB a minute; undefined when no process lived long enough. */
  steepest(): number | undefined {
    const slopes = [...this.#courses.values()].map(({ samples }) =>
      slopeOf(samples.slice(Math.floor(samples.length * WARM_UP))),
    );
    const known = slopes.filter((slope) => slope !== undefined);
    return known.length === 0 ? undefined : Math.max(...known);
  }
}

/** Least squares; MiB a minute. */
function slopeOf(samples: Course["samples"]): number | undefined {
  if (samples.length < LEAST_SAMPLES) return undefined;
  const meanAt = samples.reduce((sum, { atMs }) => sum + atMs, 0) / samples.length;
  const meanMib = samples.reduce((sum, { mib }) => sum + mib, 0) / samples.length;
  let above = 0;
  let below = 0;
  for (const { atMs, mib } of samples) {
    above += (atMs - meanAt) * (mib - meanMib);
    below += (atMs - meanAt) ** 2;
  }
  return below === 0 ? undefined : (above / below) * 60_000;
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

function handlesOf(pid: number): Handles {
  const names = readdirSync(`/proc/${pid}/fd`);
  let connections = 0;
  for (const name of names)
    try {
      if (readlinkSync(`/proc/${pid}/fd/${name}`).startsWith("socket:")) connections++;
    } catch {
      // closed meanwhile
    }
  return { descriptors: names.length, connections };
}
