/** Functions that want to be told; they must not throw. */
export class Listeners<Arguments extends readonly unknown[]> {
  readonly #all = new Set<(...told: Arguments) => void>();

  /** @returns the way to end it; ending twice is fine */
  add(listener: (...told: Arguments) => void): () => void {
    this.#all.add(listener);
    return () => void this.#all.delete(listener);
  }

  tell(...told: Arguments): void {
    for (const listener of this.#all) listener(...told);
  }
}
