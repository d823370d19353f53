/**
 * The other worker processes of this node: what one tells on a topic each other one hears once, soon and in order.
 * For counts that must be a node's and not a worker's. Where a node is one process there are none.
 */
export interface Siblings {
  /** @param hear told what another worker said; it is JSON and may be anything */
  join(topic: string, hear: (message: unknown) => void): SiblingTopic;
}

export interface SiblingTopic {
  /** Never waits and never throws; when far too much is told at once, the rest is lost. */
  tell(message: unknown): void;
  leave(): void;
}
