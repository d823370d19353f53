/**
 * The rows of the table that `npm run faults` prints at its end; each test file hands in its own.
 */
import { appendFileSync } from "node:fs";

export interface FaultRow {
  readonly fault: string;
  readonly how: string;
  readonly sent: number;
  readonly failed: number;
  /** Milliseconds from the end of the fault until every node answers by a write made after it. */
  readonly freshMs: number | undefined;
  /** The guarantees it points to, such as `G1 G3 G5`. */
  readonly guarantees: string;
  readonly held: boolean;
  /** Figures worth printing. */
  readonly note?: string;
}

export function reportFault(row: FaultRow): void {
  const file = process.env["FAULTS_REPORT"];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(row)}\n`);
  const fresh = row.freshMs === undefined ? "" : `, fresh after ${row.freshMs.toFixed(0)} ms`;
  const note = row.note === undefined ? "" : `, ${row.note}`;
  process.stdout.write(`${row.fault}: ${row.sent} sent, ${row.failed} failed${fresh}${note}\n`);
}

/** For a fault that this machine does not allow: its row then says why. @returns whether it can be injected */
export function injectable(fault: string, whyNot: string | undefined): boolean {
  if (whyNot === undefined) return true;
  const file = process.env["FAULTS_REPORT"];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ fault, why: whyNot })}\n`);
  console.warn(`SKIPPED: ${fault}: ${whyNot}`);
  return false;
}
