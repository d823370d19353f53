/**
 * Numbers in words.
 */
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

export const perSecond = (value: number): string => `${(value < 1 ? small : number).format(value)}/s`;

/** @param seconds null: nothing was measured */
export const duration = (seconds: number | null): string =>
  seconds === null ? "–" : `${(seconds < 0.001 ? small : number).format(seconds * 1_000)} ms`;
