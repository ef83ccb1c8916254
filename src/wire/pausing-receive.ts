/** The receiving half of a wire over a socket: the socket is paused while too much of what it delivered is unread. */

import { ReceiveSide } from '../stream/receive-side.ts';

/** With this many unread bytes the socket is paused; with half of them it goes on. */
const READ_HIGH_WATER = 256 << 10;

/** `net.Socket` or `WebSocket`. */
interface Pausable {
  pause(): unknown;
  resume(): unknown;
}

export interface PausingReceive {
  readonly receive: ReceiveSide;
  /** For the socket's data events; `chunk` is not empty. */
  readonly onData: (chunk: Uint8Array) => void;
}

export const pausingReceive = (socket: Pausable): PausingReceive => {
  let paused = false;
  const receive = new ReceiveSide({
    onTaken: () => {
      if (!paused || receive.bytes >= READ_HIGH_WATER / 2 || !receive.isOpen) return;
      paused = false;
      socket.resume();
    },
  });
  const onData = (chunk: Uint8Array): void => {
    if (!receive.isOpen) return;
    receive.push(chunk);
    if (paused || receive.bytes < READ_HIGH_WATER) return;
    paused = true;
    socket.pause();
  };
  return { receive, onData };
};
