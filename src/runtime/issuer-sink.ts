/**
 * What keeps the issuers of tokens, as the live configuration sees it; floors of one height do not meet.
 */
import type { StoredValue } from "../model/record.ts";
import type { Tokens } from "../plugin/tokens.ts";

export interface IssuerSink extends Tokens {
  readonly count: number;
  /** @param record has passed all checks; undefined: it is gone */
  setRecord(id: string, record: StoredValue | undefined): void;
}
