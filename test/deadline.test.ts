import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { pause, startDeadline, withDeadline } from '../src/deadline.ts';
import { isLeanError, LeanError } from '../src/errors.ts';

const never = new Promise<never>(() => {});

describe('withDeadline', () => {
  it('passes on what the work gives', async () => {
    assert.equal(await withDeadline(Promise.resolve(7), 1_000, 'work'), 7);
    await assert.rejects(withDeadline(Promise.reject(new Error('no')), 1_000, 'work'), /no/);
  });

  it('rejects with ERR_TIMEOUT and calls expire once', async () => {
    let expired = 0;
    const work = withDeadline(never, 5, 'the work', () => expired++);
    await assert.rejects(work, (error) => {
      assert(isLeanError(error, 'ERR_TIMEOUT'));
      assert.equal(error.message, 'the work took longer than 5 ms');
      return true;
    });
    assert.equal(expired, 1);
  });

  it('swallows what the work does after its time', async () => {
    let fail: (error: Error) => void = () => {};
    const work = new Promise<never>((_, reject) => {
      fail = reject;
    });
    await assert.rejects(
      withDeadline(work, 1, 'work', () => fail(new Error('late'))),
      /took longer/,
    );
    await new Promise(setImmediate); // an unhandled rejection would fail this file
  });
});

describe('startDeadline', () => {
  it('aborts with ERR_TIMEOUT when its time is over', async () => {
    const deadline = startDeadline(1, 'the work');
    await new Promise((resolve) => deadline.signal.addEventListener('abort', resolve));
    assert(isLeanError(deadline.signal.reason, 'ERR_TIMEOUT'));
  });

  it('aborts with ERR_ABORTED when its parent does, also before it began', () => {
    const parent = new AbortController();
    const deadline = startDeadline(60_000, 'the work', parent.signal);
    parent.abort();
    assert(isLeanError(deadline.signal.reason, 'ERR_ABORTED'));
    deadline.clear();
    const late = startDeadline(60_000, 'the work', parent.signal);
    assert(isLeanError(late.signal.reason, 'ERR_ABORTED'));
    late.clear();
  });

  it("keeps the parent's reason where it is ours, and ends early with one", () => {
    const reason = new LeanError('ERR_DIAL', 'lost the race');
    const parent = new AbortController();
    const child = startDeadline(60_000, 'the work', parent.signal);
    parent.abort(reason);
    assert.equal(child.signal.reason, reason);
    child.clear();
    const other = startDeadline(60_000, 'the work');
    other.abort(reason);
    assert.equal(other.signal.reason, reason);
    other.clear();
  });

  it('does nothing more once cleared', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const parent = new AbortController();
    const deadline = startDeadline(1, 'the work', parent.signal);
    deadline.clear();
    parent.abort();
    t.mock.timers.tick(10);
    assert.equal(deadline.signal.aborted, false);
  });
});

/** Timers that keep this process alive. */
const timers = (): number =>
  process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length;

describe('pause', () => {
  it('ends when the signal fires, also before it began, and leaves no timer or listener behind', async () => {
    const before = timers();
    const controller = new AbortController();
    const { signal } = controller;
    const paused = pause(60_000, signal);
    assert.deepEqual([timers() - before, getEventListeners(signal, 'abort').length], [1, 1]);
    controller.abort();
    await paused;
    assert.deepEqual([timers() - before, getEventListeners(signal, 'abort').length], [0, 0]);
    await pause(60_000, signal);
    assert.deepEqual([timers() - before, getEventListeners(signal, 'abort').length], [0, 0]);
  });

  it('ends when its time is over, and leaves no listener behind', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { signal } = new AbortController();
    let ended = false;
    const paused = pause(10, signal).then(() => {
      ended = true;
    });
    t.mock.timers.tick(9);
    await Promise.resolve();
    assert.equal(ended, false);
    t.mock.timers.tick(1);
    await paused;
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });
});
