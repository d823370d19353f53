/**
 * Idle connections by address: the bound of a pool's facts holds for an address, whatever TLS names its connections
 * carry, and when no further connection may be opened those that wait are let go first, of any pool.
 */
/** A connection on which nothing runs. */
interface IdleConnection {
  destroy(): void;
}

/** All idle connections of one client. */
export class IdleAddresses {
  readonly #byKey = new Map<string, IdleConnections>();
  /** Addresses at which anything waits. */
  readonly #resting = new Set<IdleConnections>();

  /** Each hold is given back by `release`. @param size most that may wait */
  hold(key: string, size: number): IdleConnections {
    let idle = this.#byKey.get(key);
    if (!idle) {
      idle = new IdleConnections(key, size, this.#resting);
      this.#byKey.set(key, idle);
    }
    idle.users++;
    return idle;
  }

  release(idle: IdleConnections): void {
    if (--idle.users === 0) this.#byKey.delete(idle.key);
  }

  get count(): number {
    let count = 0;
    for (const idle of this.#resting) count += idle.count;
    return count;
  }

  /** Closes one connection that waits. @returns false when there is none */
  closeOne(): boolean {
    for (const idle of this.#resting) return idle.closeOldest();
    return false;
  }
}

export class IdleConnections {
  readonly key: string;
  users = 0;
  readonly #size: number;
  readonly #siblings: Set<IdleConnections>;
  readonly #oldestFirst = new Set<IdleConnection>();

  constructor(key: string, size: number, siblings: Set<IdleConnections>) {
    this.key = key;
    this.#size = size;
    this.#siblings = siblings;
  }

  get count(): number {
    return this.#oldestFirst.size;
  }

  /** Lets the oldest go where there are too many. @returns false when none may wait */
  add(connection: IdleConnection): boolean {
    if (this.#size <= 0) return false;
    if (this.#oldestFirst.size >= this.#size) this.closeOldest();
    if (this.#oldestFirst.size === 0) this.#siblings.add(this);
    this.#oldestFirst.add(connection);
    return true;
  }

  delete(connection: IdleConnection): boolean {
    const wasHere = this.#oldestFirst.delete(connection);
    if (wasHere && this.#oldestFirst.size === 0) this.#siblings.delete(this);
    return wasHere;
  }

  closeOldest(): boolean {
    for (const connection of this.#oldestFirst) {
      connection.destroy(); // takes itself out, by way of its pool
      return true;
    }
    return false;
  }
}
