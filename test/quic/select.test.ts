import assert from 'node:assert/strict';
import { isBuiltin } from 'node:module';
import { describe, it } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { rejection } from '../support/quic-helpers.ts';

const hasNodeQuic = isBuiltin('node:quic');
const isBun = process.versions.bun !== undefined;

describe('selectEngine', () => {
  it('gives quiche when it is asked for', async () => {
    for (const role of ['dial', 'listen'] as const) {
      const { engine, why } = await selectEngine('quiche', role);
      assert.equal(engine.name, 'quiche');
      assert.equal(why, 'quiche was asked for');
    }
  });

  it('gives node:quic when it is asked for and there, else says why not', async () => {
    for (const role of ['dial', 'listen'] as const) {
      if (hasNodeQuic && !(isBun && role === 'listen')) {
        assert.equal((await selectEngine('node', role)).engine.name, 'node');
        continue;
      }
      const error = await rejection(selectEngine('node', role));
      assert(isLeanError(error, 'ERR_ENGINE_UNAVAILABLE'), String(error));
      assert.match(error.message, hasNodeQuic ? /self-signed/ : /does not have it/);
    }
  });

  it('prefers node:quic with auto, where it can do the role, and says why', async () => {
    for (const role of ['dial', 'listen'] as const) {
      const { engine, why } = await selectEngine('auto', role);
      const expected = hasNodeQuic && !(isBun && role === 'listen') ? 'node' : 'quiche';
      assert.equal(engine.name, expected);
      assert.match(why, /node:quic/);
      assert(!why.includes('\n'));
    }
  });
});
