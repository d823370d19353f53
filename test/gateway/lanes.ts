/** Every rule is shown on both lanes. */
export const LANES = [
  { lane: "general lane", fastLane: false },
  { lane: "fast lane", fastLane: true },
] as const;
