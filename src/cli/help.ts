/** The texts that `--help` prints after the options. */

export const EXAMPLES = `
Examples:
  $ libp2p-lean listen
  $ libp2p-lean ping -c 5 /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW…
  $ IS_DIALER=false TRANSPORT=quic-v1 LISTENER_IP=0.0.0.0 REDIS_ADDR=localhost:6379 \\
    TEST_KEY=a5b50d5e libp2p-lean transport

A checkout and the image libp2p-lean:kad-dht have kad-dht and gossipsub-interop, too:
  $ ROLE=bootstrap REDIS_ADDR=localhost:6379 TEST_KEY=a5b50d5e libp2p-lean kad-dht

Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration; 127 not supported here.`;

export const HOLE_PUNCH_HELP = `
Environment, as libp2p/unified-testing's hole-punch suite sets it:
  IS_DIALER                             true: dialer; false: listener; not set, with RELAY_IP: relay
  IS_RELAY                              true: relay
  DIALER_IP, LISTENER_IP, RELAY_IP      where each listens; default 0.0.0.0
  TRANSPORT                             quic-v1, tcp (with SECURE_CHANNEL and MUXER)
  REDIS_ADDR, TEST_KEY                  where they meet
  PUNCH_TIMEOUT_SECS                    a dialer without a direct connection by then reports the relayed one
or as libp2p/test-plans' hole-punch-interop sets it: MODE (dial, listen), TRANSPORT (tcp, quic).`;

export const TRANSPORT_HELP = `
Two dialects are understood; a variable that is empty or null is unset.
  unified-testing   test-plans             what it may be
  IS_DIALER         is_dialer              true, false
  TRANSPORT         transport              quic-v1, tcp, ws, wss
  SECURE_CHANNEL    security               noise, tls; not for quic-v1
  MUXER             muxer                  yamux, mplex; not for quic-v1
  LISTENER_IP       ip                     IPv4 or IPv6 address (0.0.0.0)
  REDIS_ADDR        redis_addr             host:port (test-plans: redis:6379)
  TEST_KEY          -                      names the test in Redis
  TEST_TIMEOUT_SECS test_timeout_seconds   seconds for the whole run (180)
  DEBUG             DEBUG                  true: a log of every step on stderr
  QUIC_ENGINE       QUIC_ENGINE            auto, quinn, node, quiche (auto)
  NODE_QUIC         NODE_QUIC              path of a Node.js built with node:quic, for auto and node

With these variables set, libp2p-lean without a command does the same.`;

export const MISC_HELP = `
The variables of the transport command, and PROTOCOL: ping, echo, identify.`;

export const LISTEN_HELP = `
Prints its addresses, one a line, then logs peers on stderr until Ctrl-C. With --perf, anyone who may dial
it can make it send as much as they like.

Limits on what peers may cost, and their defaults; a refusal at one is logged:
  maxConnections 10000, maxConnectionsPerHost 512, maxConnectionsPerPeer 64
  maxMemoryPercent 85                         of V8's heap, the cgroup, ulimit -v
  maxPending 1000, maxPendingPerHost 256      handshakes under way
  maxStreams                                  a peer's on one connection: QUIC 256, else 1024
  connectionMemory 16MiB                      held for one connection
  stallTimeout 30000                          ms until a writer that waits for its peer is given up
  handshakeTimeout 10000, idleTimeout         ms; idle: QUIC 30000, else none

Examples:
  $ libp2p-lean listen
  $ libp2p-lean listen --limit maxConnections=100 --limit connectionMemory=4MiB
  $ libp2p-lean listen /ip6/::1/udp/4001/quic-v1
  $ libp2p-lean listen /ip4/0.0.0.0/udp/4001/quic-v1 /ip4/0.0.0.0/tcp/4001 /ip4/0.0.0.0/tcp/4002/ws
  $ libp2p-lean listen --perf
  $ libp2p-lean listen --metrics 9090`;

export const PING_HELP = `
Works against any libp2p node. Several addresses are dialled at once and the first connection is
used. Ends with the summary after -c pings or on Ctrl-C; exits 1 when nothing was answered.

Examples:
  $ libp2p-lean ping -c 5 /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW…
  $ libp2p-lean ping -i 0.2 --json /dns4/example.org/udp/4001/quic-v1/p2p/12D3KooW…
  $ libp2p-lean ping --insecure /ip4/127.0.0.1/tcp/4001/tls/ws/p2p/12D3KooW…`;

export const RELAY_HELP = `
Prints its multiaddrs and relays until it is ended. Anyone may use it, within its limits:
  maxReservations (128), maxReservationsPerHost (8), reservationTime (3600000 ms),
  maxCircuits (1024), maxCircuitsPerPeer (16), maxCircuitsPerHost (64),
  maxCircuitsPerHostToPeer (8), circuitTime (120000 ms), circuitData (131072 bytes in each
  direction); 0 ms and 0 bytes: no limit. Those of \`listen\` hold, too.

Examples:
  $ libp2p-lean relay
  $ libp2p-lean relay --limit circuitData=10MiB /ip4/0.0.0.0/udp/4001/quic-v1
  $ libp2p-lean listen --relay /ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3KooW…`;

export const PERF_HELP = `
Without --to, --listen and test-plans' flags it takes part in a perf test as the environment says:
as for \`transport\`, and for a dialer
  UPLOAD_BYTES, DOWNLOAD_BYTES               bytes of one transfer (1 GiB)
  UPLOAD_ITERATIONS, DOWNLOAD_ITERATIONS     how often each is measured (10)
  LATENCY_ITERATIONS                         round trips of one byte (100)

Without --upload and --download it moves 1 GiB each way. Anyone who may dial a node that serves perf
can make it send as much as they like.

Examples:
  $ libp2p-lean listen --perf
  $ libp2p-lean perf --to /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW… --upload 1GiB
  $ libp2p-lean perf --run-server --server-address 0.0.0.0:4001
  $ libp2p-lean perf --server-address 10.0.0.1:4001 --transport quic-v1 --upload-bytes 1048576`;
