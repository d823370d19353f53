/**
 * Opens something of many parts: what was started is ended in the reverse order, also when a later part does not start.
 */
export type Ends = (() => unknown)[];

/** @param open pushes the end of each part once it runs; hands `close` on in what it returns */
export async function openWithEnds<Opened>(
  open: (ends: Ends, close: () => Promise<void>) => Promise<Opened>,
): Promise<Opened> {
  const ends: Ends = [];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    return await open(ends, close);
  } catch (error) {
    await close();
    throw error;
  }
}
