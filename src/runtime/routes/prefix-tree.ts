/**
 * Values under text prefixes, found longest first: a radix tree.
 * Promise: a look-up costs the length of the text, a change the length of the prefix, whatever the number of prefixes.
 */
class PrefixNode<T> {
  label: string;
  parent: PrefixNode<T> | undefined;
  /** By first UTF-16 unit of the child's label; undefined for leaves, which are the most. */
  children: Map<number, PrefixNode<T>> | undefined = undefined;
  value: T | undefined = undefined;

  constructor(label: string, parent: PrefixNode<T> | undefined) {
    this.label = label;
    this.parent = parent;
  }

  /** The next shorter prefix that has a value. */
  shorter(): PrefixNode<T> | undefined {
    let node = this.parent;
    while (node && node.value === undefined) node = node.parent;
    return node;
  }

  addChild(child: PrefixNode<T>): void {
    this.children ??= new Map();
    this.children.set(child.label.charCodeAt(0), child);
    child.parent = this;
  }
}

export class PrefixTree<T> {
  readonly #root = new PrefixNode<T>("", undefined);

  /** The longest prefix of `text` that has a value. */
  longest(text: string): PrefixNode<T> | undefined {
    let node = this.#root;
    let at = 0;
    for (;;) {
      const child: PrefixNode<T> | undefined = node.children?.get(text.charCodeAt(at));
      if (!child || !text.startsWith(child.label, at)) break;
      at += child.label.length;
      node = child;
    }
    return node.value === undefined ? node.shorter() : node;
  }

  get(prefix: string): T | undefined {
    return this.#find(prefix)?.value;
  }

  set(prefix: string, value: T): void {
    let node = this.#root;
    let at = 0;
    while (at < prefix.length) {
      const child = node.children?.get(prefix.charCodeAt(at));
      if (!child) {
        const leaf = new PrefixNode<T>(prefix.slice(at), node);
        node.addChild(leaf);
        node = leaf;
        break;
      }
      const shared = sharedLength(child.label, prefix, at);
      node = shared === child.label.length ? child : split(child, shared);
      at += shared;
    }
    node.value = value;
  }

  delete(prefix: string): void {
    const node = this.#find(prefix);
    if (!node) return;
    node.value = undefined;
    const { parent } = node;
    if (node.children) {
      joinOnlyChild(node);
    } else if (parent) {
      parent.children?.delete(node.label.charCodeAt(0));
      if (parent.children?.size === 0) parent.children = undefined;
      joinOnlyChild(parent);
    }
  }

  /** Whether no prefix has a value. */
  get isEmpty(): boolean {
    return this.#root.value === undefined && this.#root.children === undefined;
  }

  #find(prefix: string): PrefixNode<T> | undefined {
    let node: PrefixNode<T> | undefined = this.#root;
    let at = 0;
    while (node && at < prefix.length) {
      node = node.children?.get(prefix.charCodeAt(at));
      if (!node || !prefix.startsWith(node.label, at)) return undefined;
      at += node.label.length;
    }
    return node;
  }
}

function sharedLength(label: string, text: string, at: number): number {
  let shared = 1; // the child was found by its first unit
  while (shared < label.length && label.charCodeAt(shared) === text.charCodeAt(at + shared)) shared++;
  return shared;
}

/** Puts a new node in front of `node` that holds the first `length` units of its label. */
function split<T>(node: PrefixNode<T>, length: number): PrefixNode<T> {
  const front = new PrefixNode<T>(node.label.slice(0, length), undefined);
  node.parent?.addChild(front);
  node.label = node.label.slice(length);
  front.addChild(node);
  return front;
}

/** Undoes a split that serves nobody any more. */
function joinOnlyChild<T>(node: PrefixNode<T>): void {
  if (node.value !== undefined || node.children?.size !== 1 || !node.parent) return;
  for (const child of node.children.values()) {
    child.label = node.label + child.label;
    node.parent.addChild(child);
  }
}
