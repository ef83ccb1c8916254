/** `libp2p-lean gossipsub-interop --params params.json`: a node of test-plans' gossipsub-interop. */

import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { messageOf } from '../errors.ts';
import { HarnessError } from '../harness/errors.ts';
import { runGossipsubNode } from '../harness/gossipsub-node.ts';
import { parseScript } from '../harness/gossipsub-script.ts';
import { EXIT, note, onTermination } from './process.ts';

const TRANSPORTS = ['tcp', 'quic-v1'] as const;

/** @throws ERR_CONFIG: a flag, the file or the host's name is wrong; what `runGossipsubNode()` throws. */
export const gossipsubInterop = async (args: readonly string[]): Promise<number> => {
  // Scripts count from the start of the process.
  const startedAt = 0;
  const { params, transport } = flagsOf(args);
  const [, id] = /^node(\d{1,9})$/.exec(hostname()) ?? [];
  if (id === undefined) {
    throw new HarnessError(
      'ERR_CONFIG',
      `this host is called ${hostname()}; it must be node<number>`,
    );
  }
  const text = await readFile(params, 'utf8').catch((cause: unknown) => {
    throw new HarnessError('ERR_CONFIG', `--params ${params}: ${messageOf(cause)}`, { cause });
  });
  await runGossipsubNode({
    nodeId: Number(id),
    transport,
    script: parseScript(text),
    startedAt,
    signal: onTermination(EXIT.failed),
    event: (msg, fields) => {
      const time = new Date().toISOString();
      process.stdout.write(`${JSON.stringify({ time, level: 'INFO', msg, ...fields })}\n`);
    },
    note,
  });
  return EXIT.ok;
};

const flagsOf = (
  args: readonly string[],
): { readonly params: string; readonly transport: (typeof TRANSPORTS)[number] } => {
  let values: { params?: string | undefined; transport?: string | undefined };
  try {
    const options = { params: { type: 'string' }, transport: { type: 'string' } } as const;
    ({ values } = parseArgs({ args: [...args], options }));
  } catch (cause) {
    throw new HarnessError('ERR_CONFIG', messageOf(cause), { cause });
  }
  if (values.params === undefined) {
    throw new HarnessError(
      'ERR_CONFIG',
      '--params is not given; it must name the params.json file',
    );
  }
  const transport = TRANSPORTS.find((one) => one === (values.transport ?? 'tcp'));
  if (transport === undefined) {
    throw new HarnessError('ERR_CONFIG', `--transport must be one of ${TRANSPORTS.join(', ')}`);
  }
  return { params: values.params, transport };
};
