import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LeanError, messageOf } from '../src/errors.ts';
import { printable, quote } from '../src/printable.ts';

test('what is unsafe is escaped', () => {
  for (const [text, shown] of [
    ['', ''],
    ['plain text, "quoted" \\ and ~', 'plain text, "quoted" \\ and ~'],
    ['Grüße, 日本語, 🎉', 'Grüße, 日本語, 🎉'],
    ['\x1b[31m\x07\x00\x7f', '\\x1b[31m\\x07\\x00\\x7f'],
    ['a\r\nb\tc', 'a\\r\\nb\\tc'],
    ['\u009b2J\u0085', '\\x9b2J\\x85'],
    ['\u202e\u2066\u2069\u200f\u061c', '\\u202e\\u2066\\u2069\\u200f\\u061c'],
    ['\u2028\u2029\u200b\ufeff\u00ad', '\\u2028\\u2029\\u200b\\ufeff\\xad'],
    ['\u{e0041}', '\\u{e0041}'],
    ['\ud800x\udfff', '\\ud800x\\udfff'],
  ] as const) {
    assert.equal(printable(text), shown);
    assert.equal(printable(printable(text)), shown, 'twice is as good as once');
  }
});

test('what is long is cut, between characters', () => {
  assert.equal(printable('abcdef', 3), 'abc…');
  assert.equal(printable('abc', 3), 'abc');
  assert.equal(printable('ab🎉', 3), 'ab…');
  assert.equal(printable('x'.repeat(1_000)).length, 301);
  assert(printable('\x00'.repeat(100_000)).length <= 1_300);
});

test('quotation marks show where the text ends', () => {
  assert.equal(quote('say "\n"'), '"say \\"\\n\\""');
  assert.equal(quote('abcdef', 3), '"abc…"');
});

test('the message of anything thrown is one printable line with a bound', () => {
  assert.equal(messageOf(new LeanError('ERR_DIAL', 'a \x1b[1m\u202e b')), 'a \\x1b[1m\\u202e b');
  assert.equal(messageOf(new Error('one\n  two')), 'one two');
  assert.equal(messageOf('\x07'), '\\x07');
  assert.equal(messageOf(undefined), 'undefined');
  assert(messageOf(new Error('y'.repeat(1 << 20))).length < 3_000);
});
