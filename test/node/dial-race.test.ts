/** The race between addresses, with dials that the test ends when it likes. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import type { TransportConnection } from '../../src/connection.ts';
import { ConnectionMemory } from '../../src/connection-memory.ts';
import { type ErrorCode, isLeanError, LeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { kindOf } from '../../src/multiaddr.ts';
import { race } from '../../src/node/dial-race.ts';

const quic = (port: number): Multiaddr => multiaddr(`/ip4/127.0.0.1/udp/${port}/quic-v1`);
const tcp = (port: number): Multiaddr => multiaddr(`/ip4/127.0.0.1/tcp/${port}`);
const peer = peerIdOf(generateHostKey().publicKey);

interface Attempt {
  readonly address: string;
  readonly signal: AbortSignal;
  succeed(): void;
  fail(code?: ErrorCode): void;
}

/** Starts a race; `attempts` has its dials in the order in which they began. */
const startRace = (addresses: Multiaddr[], headStart: number, signal?: AbortSignal) => {
  const attempts: Attempt[] = [];
  const closed: string[] = [];
  const connectionOf = (address: Multiaddr): TransportConnection => ({
    role: 'dialer',
    localPeer: peer,
    remotePeer: peer,
    localAddress: address,
    remoteAddress: address,
    description: 'test',
    openStream: () => Promise.reject(new Error('not in this test')),
    acceptStream: () => Promise.resolve(null),
    close: async () => {
      closed.push(address.toString());
    },
    closed: new Promise(() => {}),
    memory: new ConnectionMemory(1, 1, () => {}),
  });
  const result = race(addresses, {
    headStart,
    signal: signal ?? new AbortController().signal,
    dialOne: (address, attemptSignal) =>
      new Promise((resolve, reject) => {
        attempts.push({
          address: address.toString(),
          signal: attemptSignal,
          succeed: () => resolve(connectionOf(address)),
          fail: (code = 'ERR_DIAL') => reject(new LeanError(code, `no ${kindOf(address)}`)),
        });
      }),
  });
  result.catch(() => {});
  const attempt = (i: number): Attempt => {
    const it = attempts[i];
    assert(it !== undefined, `dial ${i} has begun`);
    return it;
  };
  return { attempts, attempt, closed, result, begun: () => attempts.map((it) => it.address) };
};
const turn = () => new Promise(setImmediate);
const NEVER = 1_000_000;

describe('race', () => {
  it('starts every QUIC address at once and the others after the head start', async (context) => {
    const { timers } = context.mock;
    timers.enable({ apis: ['setTimeout'] });
    const it = startRace([tcp(1), quic(2), tcp(3), quic(4)], 20);
    timers.tick(19);
    await turn();
    assert.deepEqual(it.begun(), [quic(2), quic(4)].map(String));
    timers.tick(1);
    await turn();
    assert.deepEqual(it.begun(), [quic(2), quic(4), tcp(1), tcp(3)].map(String));
    it.attempt(2).succeed();
    assert.equal((await it.result).remoteAddress.toString(), tcp(1).toString());
  });

  it('starts the others as soon as every QUIC dial has failed', async () => {
    const it = startRace([quic(1), tcp(2), quic(3)], NEVER);
    it.attempt(0).fail();
    await turn();
    assert.equal(it.attempts.length, 2);
    it.attempt(1).fail();
    await turn();
    assert.deepEqual(it.begun(), [quic(1), quic(3), tcp(2)].map(String));
    it.attempt(2).succeed();
    assert.equal((await it.result).remoteAddress.toString(), tcp(2).toString());
  });

  it('starts at once without a QUIC address', () => {
    assert.deepEqual(startRace([tcp(1), tcp(2)], NEVER).begun(), [tcp(1), tcp(2)].map(String));
  });

  it('never starts the others when QUIC is fast', async (context) => {
    const { timers } = context.mock;
    timers.enable({ apis: ['setTimeout'] });
    const it = startRace([quic(1), tcp(2)], 5);
    it.attempt(0).succeed();
    await it.result;
    timers.tick(50);
    await turn();
    assert.equal(it.attempts.length, 1);
  });

  it('aborts the losers and closes those that connect all the same', async () => {
    const it = startRace([quic(1), quic(2), quic(3)], NEVER);
    it.attempt(1).succeed();
    assert.equal((await it.result).remoteAddress.toString(), quic(2).toString());
    assert(it.attempt(0).signal.aborted && it.attempt(2).signal.aborted);
    it.attempt(0).succeed();
    it.attempt(2).fail('ERR_ABORTED');
    await turn();
    assert.deepEqual(it.closed, [quic(1).toString()]);
  });

  it('fails with the one error there is, or with all of them', async () => {
    const one = startRace([quic(1)], NEVER);
    one.attempt(0).fail('ERR_PEER_ID_MISMATCH');
    await assert.rejects(one.result, { code: 'ERR_PEER_ID_MISMATCH', message: 'no quic-v1' });

    const same = startRace([quic(1), tcp(2)], NEVER);
    same.attempt(0).fail('ERR_TIMEOUT');
    await turn();
    same.attempt(1).fail('ERR_TIMEOUT');
    await assert.rejects(same.result, { code: 'ERR_TIMEOUT' });

    const mixed = startRace([quic(1), tcp(2)], NEVER);
    mixed.attempt(0).fail('ERR_TIMEOUT');
    await turn();
    mixed.attempt(1).fail('ERR_HANDSHAKE');
    await assert.rejects(mixed.result, (error) => {
      assert(isLeanError(error, 'ERR_DIAL'));
      const each = `${quic(1)}: no quic-v1; ${tcp(2)}: no tcp`;
      assert.equal(error.message, `every address failed: ${each}`);
      return true;
    });
  });

  it('ends at once with the reason of its signal, before or during the race', async (context) => {
    const { timers } = context.mock;
    timers.enable({ apis: ['setTimeout'] });
    const reason = new LeanError('ERR_TIMEOUT', 'too late');
    const abort = new AbortController();
    const it = startRace([quic(1), tcp(2)], 5, abort.signal);
    abort.abort(reason);
    await assert.rejects(it.result, reason);
    assert(it.attempt(0).signal.aborted);
    it.attempt(0).succeed(); // ignores its signal
    timers.tick(20);
    await turn();
    assert.deepEqual(it.closed, [quic(1).toString()]);
    assert.equal(it.attempts.length, 1);
    const late = startRace([quic(1)], NEVER, abort.signal);
    await assert.rejects(late.result, reason);
    assert.equal(late.attempts.length, 0);
  });
});
