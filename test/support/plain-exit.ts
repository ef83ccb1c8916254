/**
 * Imported by what opens streams over `node:quic` beyond the peer's limit, in the process of the test: it then
 * ends as programs do that call `process.exit()`. Node 24.21 dies with SIGSEGV when it ends by itself while a
 * stream that never opened is in memory (src/quic/node/stream-slots.ts).
 */

process.once('exit', (code) => process.exit(code));
