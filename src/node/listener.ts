/** A listener as a node's user sees it. Disposing of it closes it. */

import type { Multiaddr } from '@multiformats/multiaddr';

export interface Listener extends AsyncDisposable {
  /**
   * The bound address with its real port and `/p2p/<peer id>`. Its host may be unspecified (`0.0.0.0`):
   * `LeanNode.addresses()` has what other machines can dial.
   */
  readonly address: Multiaddr;
  /** Closes the listener and every connection that it accepted. Idempotent; never rejects. */
  close(): Promise<void>;
}
