/**
 * No stateless resets (RFC 9000 section 10.3), neither sent nor taken: with them a peer can end the process.
 *
 * `node:quic` (24.21) finds the connection that a stateless reset is for by a raw pointer, ends it, by which it is freed,
 * and then goes on using it (`receive` in `Endpoint::Receive`, src/quic/endpoint.cc). Mostly the memory is still as it
 * was; when it has been given away again, as where an async hook listens for `destroy`, Node dies with SIGSEGV. And it
 * never forgets the tokens of its own connection ids, so that whoever sends one of them back after the end of their connection
 * has it use one that was freed long ago.
 *
 * Without them, who missed our CONNECTION_CLOSE learns by the idle timeout that a connection is over, and so do we
 * of a peer that restarted.
 */
export const NO_STATELESS_RESET = { disableStatelessReset: true } as const;
