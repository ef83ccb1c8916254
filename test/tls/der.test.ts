import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DER, expectTag, readElements, readOne, writeElement } from '../../src/tls/der.ts';

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('DER', () => {
  it('reads back what it writes, at every size of length', () => {
    for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000]) {
      const content = new Uint8Array(length).fill(7);
      const element = readOne(writeElement(DER.OCTET_STRING, content), DER.OCTET_STRING);
      assert.deepEqual(element.content, content);
    }
  });

  it('reads elements one after the other', () => {
    const elements = readElements(hex('020101 0500 30020500'));
    assert.deepEqual(
      elements.map(({ tag, content }) => [tag, Buffer.from(content).toString('hex')]),
      [
        [0x02, '01'],
        [0x05, ''],
        [0x30, '0500'],
      ],
    );
  });

  const refused: Record<string, [bytes: string, why: RegExp]> = {
    'a tag alone': ['04', /truncated/],
    'a cut content': ['0402 00', /truncated/],
    'a cut length': ['0482 01', /truncated/],
    'a tag number above 30': ['1f01 00', /tag number above 30/],
    'an indefinite length': ['3080 0000', /indefinite or absurd/],
    'a long length for a short content': ['0481 01 00', /not minimal/],
    'a length with a leading zero': [`048200 80 ${'00'.repeat(128)}`, /not minimal/],
    'a length of four bytes': [`0484 00010000 ${'00'.repeat(65_536)}`, /indefinite or absurd/],
    'a gigantic length': ['0483 ffffff 00', /truncated/],
  };
  for (const [name, [bytes, why]] of Object.entries(refused)) {
    it(`refuses ${name}`, () => {
      assert.throws(() => readElements(hex(bytes)), why);
    });
  }

  it('refuses trailing bytes, wrong tags and missing elements', () => {
    assert.throws(() => readOne(hex('0500 00'), 0x05), /trailing/);
    assert.throws(() => readOne(hex('0500'), DER.SEQUENCE), /expected DER tag 0x30, found 0x5/);
    assert.throws(() => readOne(hex(''), DER.SEQUENCE), /truncated/);
    assert.throws(() => expectTag(undefined, DER.OID), /found nothing/);
  });

  it('reads 64 elements and no more', () => {
    assert.equal(readElements(hex('0500'.repeat(64))).length, 64);
    assert.throws(() => readElements(hex('0500'.repeat(65))), /too many/);
  });
});
