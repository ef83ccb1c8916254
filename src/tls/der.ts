/**
 * A writer of DER (ITU-T X.690 section 10), and a strict reader for what libp2p reads out of a certificate:
 * definite, minimal lengths; single-byte tags; nothing after the last element. It reads and never
 * copies: all results are views of the input.
 */

export interface DerElement {
  /** The identifier octet: class, constructed bit and number. */
  readonly tag: number;
  /** Identifier, length and content octets. */
  readonly bytes: Uint8Array;
  /** The content octets. */
  readonly content: Uint8Array;
}

/** Identifier octets. */
export const DER = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  OID: 0x06,
  PRINTABLE_STRING: 0x13,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  SEQUENCE: 0x30,
  SET: 0x31,
} as const;

/** Identifier octet of the constructed, context-specific tag `[number]`. */
export const contextTag = (number: number): number => 0xa0 | number;

/** The largest number of elements at one level: more than any libp2p certificate has. */
const MAX_ELEMENTS = 64;

/**
 * Splits `bytes` into its elements, at most 64.
 *
 * @throws Error when it is not a concatenation of elements.
 */
export const readElements = (bytes: Uint8Array): DerElement[] => {
  const elements: DerElement[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (elements.length === MAX_ELEMENTS) throw new Error('too many DER elements');
    const element = readElement(bytes, at);
    elements.push(element);
    at += element.bytes.length;
  }
  return elements;
};

/**
 * Reads `bytes` as exactly one element with that tag.
 *
 * @throws Error when it is not.
 */
export const readOne = (bytes: Uint8Array, tag: number): DerElement => {
  const element = expectTag(readElement(bytes, 0), tag);
  if (element.bytes.length !== bytes.length) throw new Error('trailing bytes after a DER element');
  return element;
};

/**
 * Returns `element` if it exists and has that tag.
 *
 * @throws Error otherwise.
 */
export const expectTag = (element: DerElement | undefined, tag: number): DerElement => {
  if (element?.tag !== tag) {
    const found = element === undefined ? 'nothing' : `0x${element.tag.toString(16)}`;
    throw new Error(`expected DER tag 0x${tag.toString(16)}, found ${found}`);
  }
  return element;
};

const readElement = (bytes: Uint8Array, start: number): DerElement => {
  const tag = bytes[start];
  const first = bytes[start + 1];
  if (tag === undefined || first === undefined) throw new Error('truncated DER element');
  if ((tag & 0x1f) === 0x1f) throw new Error('DER tag number above 30');
  let length = first;
  let contentStart = start + 2;
  if (first >= 0x80) {
    const size = first & 0x7f;
    if (size < 1 || size > 3) throw new Error('DER length is indefinite or absurd');
    contentStart += size;
    if (contentStart > bytes.length) throw new Error('truncated DER element');
    length = 0;
    for (let i = start + 2; i < contentStart; i++) length = (length << 8) | (bytes[i] ?? 0);
    if (length < 0x80 || length < 1 << (8 * (size - 1)))
      throw new Error('DER length is not minimal');
  }
  const end = contentStart + length;
  if (end > bytes.length) throw new Error('truncated DER element');
  return { tag, bytes: bytes.subarray(start, end), content: bytes.subarray(contentStart, end) };
};

/** One element: `tag` around the concatenated `contents`, which are DER or raw bytes. */
export const writeElement = (
  tag: number,
  ...contents: readonly Uint8Array[]
): Uint8Array<ArrayBuffer> => {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  const size = length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
  const bytes = new Uint8Array(2 + size + length);
  bytes[0] = tag;
  bytes[1] = size === 0 ? length : 0x80 | size;
  for (let i = 0; i < size; i++) bytes[2 + i] = length >>> (8 * (size - 1 - i));
  let at = 2 + size;
  for (const content of contents) {
    bytes.set(content, at);
    at += content.length;
  }
  return bytes;
};
