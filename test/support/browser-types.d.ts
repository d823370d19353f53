/**
 * Types of the browser that playwright-core's own types name. Tests see pages through it alone, and src has no browser: the
 * whole of TypeScript's `dom` would let code call what Node.js does not have.
 */
declare global {
  interface Node {
    readonly nodeName: string;
  }
  interface HTMLElement extends Node {
    readonly lang: string;
  }
  interface SVGElement extends Node {
    readonly id: string;
  }
  interface HTMLElementTagNameMap {
    readonly [name: string]: HTMLElement;
  }
}

export {};
