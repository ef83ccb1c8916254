/**
 * The instructions of libp2p/test-plans' gossipsub-interop (`script_instruction.py`, `test-specs/implementation.md`
 * there): a JSON file, `params.json`, that every node of an experiment is given.
 */

import { HarnessError } from './errors.ts';

/** go-libp2p-pubsub's names; durations in nanoseconds. What is not there is the implementation's default. */
export type GossipSubParams = Readonly<Record<string, number>>;

export type Instruction =
  | { readonly type: 'initGossipSub'; readonly gossipSubParams: GossipSubParams }
  | { readonly type: 'connect'; readonly connectTo: readonly number[] }
  | {
      readonly type: 'ifNodeIDEquals';
      readonly nodeID: number;
      readonly instruction: Instruction;
    }
  | { readonly type: 'waitUntil'; readonly elapsedSeconds: number }
  | {
      readonly type: 'publish';
      readonly messageID: number;
      readonly messageSizeBytes: number;
      readonly topicID: string;
    }
  | { readonly type: 'subscribeToTopic'; readonly topicID: string; readonly partial: boolean }
  | {
      readonly type: 'setTopicValidationDelay';
      readonly topicID: string;
      readonly delaySeconds: number;
    }
  /** Partial messages, an extension that js-libp2p does not have. */
  | { readonly type: 'addPartialMessage' | 'publishPartial' };

/** The longest file that is read, in bytes: that of 1,000 nodes has some 2 MB. */
const MAX_LENGTH = 64 << 20;
/** An id is 8 bytes; go-libp2p's node takes messages of up to 10 MiB. */
const MIN_MESSAGE = 8;
const MAX_MESSAGE = 10 << 20;
const MAX_SECONDS = 86_400;
const MAX_DEPTH = 8;

/**
 * Reads a file's text.
 *
 * @throws ERR_CONFIG: one line that says where it is wrong.
 */
export const parseScript = (text: string): Instruction[] => {
  if (text.length > MAX_LENGTH) throw wrong('', `is longer than ${MAX_LENGTH} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong('', 'is not JSON');
  }
  return list(fields(value, '').script, 'script').map((item, index) =>
    instruction(item, `script[${index}]`, 0),
  );
};

const wrong = (where: string, what: string): HarnessError =>
  new HarnessError('ERR_CONFIG', `the params file${where === '' ? '' : `: ${where}`} ${what}`);

const fields = (value: unknown, where: string): Readonly<Record<string, unknown>> => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(where, 'is not an object');
  }
  return value as Readonly<Record<string, unknown>>;
};

const list = (value: unknown, where: string): readonly unknown[] => {
  if (!Array.isArray(value)) throw wrong(where, 'is not a list');
  return value;
};

const number = (value: unknown, where: string, min: number, max: number): number => {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw wrong(where, `is not a number from ${min} to ${max}`);
  }
  return value;
};

const whole = (value: unknown, where: string, min: number, max: number): number => {
  if (!Number.isInteger(number(value, where, min, max)))
    throw wrong(where, 'is not a whole number');
  return value as number;
};

const topic = (value: unknown, where: string): string => {
  if (typeof value !== 'string' || value === '') throw wrong(where, 'is not a topic');
  return value;
};

const nodeId = (value: unknown, where: string): number => whole(value, where, 0, 2 ** 31 - 1);

const instruction = (value: unknown, where: string, depth: number): Instruction => {
  if (depth === MAX_DEPTH) throw wrong(where, 'is nested too deeply');
  const it = fields(value, where);
  switch (it.type) {
    case 'initGossipSub':
      return {
        type: it.type,
        gossipSubParams: params(it.gossipSubParams, `${where}.gossipSubParams`),
      };
    case 'connect': {
      const ids = list(it.connectTo, `${where}.connectTo`);
      return {
        type: it.type,
        connectTo: ids.map((id, index) => nodeId(id, `${where}.connectTo[${index}]`)),
      };
    }
    case 'ifNodeIDEquals':
      return {
        type: it.type,
        nodeID: nodeId(it.nodeID, `${where}.nodeID`),
        instruction: instruction(it.instruction, `${where}.instruction`, depth + 1),
      };
    case 'waitUntil':
      return {
        type: it.type,
        elapsedSeconds: number(it.elapsedSeconds, `${where}.elapsedSeconds`, 0, MAX_SECONDS),
      };
    case 'publish':
      return {
        type: it.type,
        messageID: whole(it.messageID, `${where}.messageID`, 0, Number.MAX_SAFE_INTEGER),
        messageSizeBytes: whole(
          it.messageSizeBytes,
          `${where}.messageSizeBytes`,
          MIN_MESSAGE,
          MAX_MESSAGE,
        ),
        topicID: topic(it.topicID, `${where}.topicID`),
      };
    case 'subscribeToTopic':
      return {
        type: it.type,
        topicID: topic(it.topicID, `${where}.topicID`),
        partial: it.partial === true,
      };
    case 'setTopicValidationDelay':
      return {
        type: it.type,
        topicID: topic(it.topicID, `${where}.topicID`),
        delaySeconds: number(it.delaySeconds, `${where}.delaySeconds`, 0, MAX_SECONDS),
      };
    case 'addPartialMessage':
    case 'publishPartial':
      return { type: it.type };
    default:
      throw wrong(`${where}.type`, 'is no instruction');
  }
};

/** null counts as absent. */
const params = (value: unknown, where: string): GossipSubParams => {
  const given = Object.entries(fields(value ?? {}, where)).filter(([, one]) => one !== null);
  return Object.fromEntries(
    given.map(([name, one]) => [name, number(one, `${where}.${name}`, 0, Number.MAX_SAFE_INTEGER)]),
  );
};
