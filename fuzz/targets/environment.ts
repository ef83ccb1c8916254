/**
 * What the harness says (src/harness/environment.ts, perf-environment.ts), and a multiaddr that Redis holds:
 * `NAME=value` in lines.
 */

import { readEnvironment } from '../../src/harness/environment.ts';
import { HarnessError } from '../../src/harness/errors.ts';
import { readPerfEnvironment } from '../../src/harness/perf-environment.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';

const SEEDS = [
  'IS_DIALER=true\nTRANSPORT=quic-v1\nLISTENER_IP=0.0.0.0\nREDIS_ADDR=localhost:6379\nTEST_KEY=a5b50d5e',
  'IS_DIALER=false\nTRANSPORT=tcp\nSECURE_CHANNEL=noise\nMUXER=yamux\nREDIS_ADDR=[::1]:1\nTEST_KEY=k\nDEBUG=true',
  'is_dialer=true\ntransport=ws\nsecurity=tls\nmuxer=mplex\nip=::\nredis_addr=redis:6379\ntest_timeout_seconds=3.5',
  'IS_DIALER=true\nTRANSPORT=wss\nSECURE_CHANNEL=null\nMUXER=\nUPLOAD_BYTES=1\nDOWNLOAD_ITERATIONS=9007199254740991',
];

export const target: FuzzTarget = {
  seeds: () => SEEDS.map((text) => Buffer.from(text)),
  words: [
    ...SEEDS.join('\n').split(/[\n=]/),
    'QUIC_ENGINE=quinn',
    'TEST_TIMEOUT_SECS=86400',
    'LATENCY_ITERATIONS',
    'webrtc-direct',
    '\0',
    '\r',
    '__proto__=true',
  ],
  fuzz: (data) => {
    const environment: Record<string, string> = {};
    for (const line of Buffer.from(data).toString('latin1').split('\n')) {
      const at = line.indexOf('=');
      if (at > 0) environment[line.slice(0, at)] = line.slice(at + 1);
    }
    for (const read of [readEnvironment, readPerfEnvironment]) {
      try {
        const { redis, timeout, key } = read(environment);
        check(redis.port > 0 && redis.port < 65_536, 'a port is one');
        check(timeout > 0 && timeout <= 86_400_000, 'a timeout is bounded');
        check(key.length < 160, 'a key is short');
      } catch (error) {
        if (error instanceof HarnessError) {
          check(!/[\n\r\0]/.test(error.message), 'an error is one line');
        } else expected(error, 'ERR_UNSUPPORTED');
      }
    }
  },
};
