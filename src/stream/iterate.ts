/** `for await` over a stream. */

import type { Stream } from '../stream.ts';

/** Every chunk up to the stream's end. Leaving the loop earlier calls `stopSending(0)`. @throws what `read()` throws. */
export async function* iterate(stream: Stream): AsyncGenerator<Uint8Array, void, undefined> {
  let over = false;
  try {
    for (;;) {
      const chunk = await stream.read();
      if (chunk === null) break;
      yield chunk;
    }
    over = true;
  } catch (error) {
    over = true;
    throw error;
  } finally {
    if (!over) stream.stopSending(0);
  }
}
