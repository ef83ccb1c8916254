/**
 * The inputs worth keeping, one text file for each target: a line of base64 each, `#` starts a comment. They
 * are small, and git shows what came and went.
 */

import { readFileSync, writeFileSync } from 'node:fs';

/** @returns nothing where there is no such file. */
export const readCorpus = (file: URL | string): Uint8Array[] => {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .slice(0, -1)
    .map((line) => Uint8Array.from(Buffer.from(line, 'base64')));
};

/** Writes `inputs`, each once, the shortest first. */
export const writeCorpus = (file: URL | string, inputs: Iterable<Uint8Array>): void => {
  const lines = new Set([...inputs].map((it) => Buffer.from(it).toString('base64')));
  const sorted = [...lines].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  writeFileSync(file, sorted.map((line) => `${line}\n`).join(''));
};

/** `fuzz/corpus/<target>.txt`: what reaches code that nothing else of it reaches. */
export const corpusFile = (target: string): URL =>
  new URL(`../corpus/${target}.txt`, import.meta.url);

/** `fuzz/regressions/<target>.txt`: what once was a bug. Written by hand, with a comment that says which. */
export const regressionsFile = (target: string): URL =>
  new URL(`../regressions/${target}.txt`, import.meta.url);
