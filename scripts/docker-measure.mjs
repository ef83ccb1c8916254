// The numbers of docs/container.md: `node scripts/docker-measure.mjs [runs]`, after `make docker`.
// From `docker run` to the listener's address in Redis, beside the same container doing nothing.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import { docker, engineRuns, IMAGES, imageExists } from './docker-engine.mjs';

const RUNS = Number(process.argv[2] ?? 15);
const KEY = 'a5b50d5e_listener_multiaddr';
const NAME = `libp2p-lean-measure-${randomBytes(4).toString('hex')}`;
const NODE = { quiche: ['node'], 'node-quic': ['/opt/node-quic/bin/node', '--experimental-quic'] };

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

const measure = async (target, redis) => {
  const popped = once(redis, 'data');
  redis.write(`BLPOP ${KEY} 60\r\n`);
  const environment = {
    IS_DIALER: 'false',
    TRANSPORT: 'quic-v1',
    LISTENER_IP: '0.0.0.0',
    REDIS_ADDR: 'redis:6379',
    TEST_KEY: 'a5b50d5e',
  };
  const options = Object.entries(environment).flatMap(([name, value]) => [
    '--env',
    `${name}=${value}`,
  ]);
  const start = performance.now();
  const id = docker('run', '--detach', '--network', NAME, ...options, IMAGES[target]);
  const [reply] = await popped;
  const published = performance.now() - start;
  if (!String(reply).includes('/quic-v1/p2p/')) throw new Error(`Redis answered ${reply}`);
  const stopStart = performance.now();
  docker('stop', id);
  const stopped = performance.now() - stopStart;
  docker('rm', id);
  return { published, stopped };
};

/** A container of the same image that starts node and ends. */
const measureNothing = (target) => {
  const [node, ...flags] = NODE[target];
  const args = ['--network', NAME, '--entrypoint', node, IMAGES[target], ...flags, '-e', '0'];
  const start = performance.now();
  docker('run', '--rm', ...args);
  return performance.now() - start;
};

const layersOf = (image) => JSON.parse(docker('image', 'inspect', image))[0].RootFS.Layers;

if (!engineRuns()) {
  console.error('docker-measure: no Docker engine answers');
  process.exit(1);
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
process.on('exit', () => {
  const ids = docker('ps', '--all', '--quiet', '--filter', `network=${NAME}`).split('\n');
  if (ids[0] !== '') docker('rm', '--force', ...ids);
  docker('network', 'rm', NAME);
});
docker('network', 'create', NAME);
const redisId = docker(
  'run',
  '--detach',
  '--network',
  NAME,
  '--network-alias',
  'redis',
  'redis:7-alpine',
);
const address = docker(
  'inspect',
  '-f',
  '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}',
  redisId,
);
const redis = await connectTo(address);
const targets = Object.keys(IMAGES).filter((target) => imageExists(IMAGES[target]));
const times = new Map(
  targets.map((target) => [target, { published: [], stopped: [], nothing: [] }]),
);
// In turns, so that what else the machine does hits all alike; the first round warms up.
for (let i = 0; i <= RUNS; i++) {
  for (const target of targets) {
    const { published, stopped } = await measure(target, redis);
    const nothing = measureNothing(target);
    if (i === 0) continue;
    times.get(target).published.push(published);
    times.get(target).stopped.push(stopped);
    times.get(target).nothing.push(nothing);
  }
}
redis.destroy();
for (const [target, { published, stopped, nothing }] of times) {
  const image = JSON.parse(docker('image', 'inspect', IMAGES[target]))[0];
  console.log(`${IMAGES[target]}`);
  console.log(
    `  size, layers                     ${(image.Size / 1e6).toFixed(0)} MB, ${layersOf(IMAGES[target]).length}`,
  );
  console.log(
    `  docker run to address published  ${median(published).toFixed(0)} ms (median of ${RUNS})`,
  );
  console.log(`  docker run node -e 0             ${median(nothing).toFixed(0)} ms`);
  console.log(`  docker stop                      ${median(stopped).toFixed(0)} ms`);
}

async function connectTo(host) {
  for (let attempt = 0; ; attempt++) {
    const socket = connect(6379, host);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      if (attempt === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
