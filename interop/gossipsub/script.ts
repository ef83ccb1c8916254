/** An experiment of gossipsub-interop: who connects to whom, who subscribes, and who publishes what and when. */

export interface Experiment {
  readonly nodes: number;
  /** Connections that each node dials. */
  readonly degree: number;
  readonly messages: number;
  readonly messageSizeBytes: number;
  /** Seconds from the start of the processes until the first message, between two, and after the last. */
  readonly settleSecs: number;
  readonly pauseSecs: number;
  readonly endSecs: number;
  readonly seed: number;
}

const TOPIC = 'foobar';

/** Pseudo-random numbers from 0 to below 1 (mulberry32); the same for the same seed. */
export const randomOf = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

/**
 * The instructions for all nodes, in upstream's format. Each node dials the one before it, so that all are
 * connected, and others at random; messages come from the nodes in turn.
 */
export const scriptOf = (experiment: Experiment): { readonly script: readonly object[] } => {
  const { nodes, messages, settleSecs, pauseSecs, endSecs } = experiment;
  const random = randomOf(experiment.seed);
  const script: object[] = [{ type: 'initGossipSub', gossipSubParams: {} }];
  for (let node = 1; node < nodes; node++) {
    const targets = new Set([node - 1]);
    while (targets.size < Math.min(experiment.degree, node)) {
      targets.add(Math.floor(random() * node));
    }
    const connect = { type: 'connect', connectTo: [...targets] };
    script.push({ type: 'ifNodeIDEquals', nodeID: node, instruction: connect });
  }
  script.push({ type: 'subscribeToTopic', topicID: TOPIC, partial: false });
  for (let message = 0; message < messages; message++) {
    const publish = {
      type: 'publish',
      messageID: message,
      messageSizeBytes: experiment.messageSizeBytes,
      topicID: TOPIC,
    };
    script.push(
      { type: 'waitUntil', elapsedSeconds: settleSecs + message * pauseSecs },
      { type: 'ifNodeIDEquals', nodeID: message % nodes, instruction: publish },
    );
  }
  script.push({
    type: 'waitUntil',
    elapsedSeconds: settleSecs + messages * pauseSecs + endSecs,
  });
  return { script };
};
