// The container images of this checkout:
//
//   node scripts/docker.mjs build               `make docker`: the images that can be built here
//   node scripts/docker.mjs test                `make docker-test`: builds them and runs test/docker
//   node scripts/docker.mjs measure [runs] [image …]
//                                               the numbers of docs/container.md, after `build`
//
// The image node-quic needs a Node.js with node:quic: NODE_QUIC_TREE, the path of a built one (a
// directory or an archive, anywhere); else ../shared/node-quic.tar.xz where that exists; else, if
// NODE_QUIC_SOURCE=yes, the official sources.
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { argumentsOf, wrongArguments } from './arguments.mjs';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Target of the Dockerfile → the name its image gets. */
const IMAGES = {
  quinn: 'libp2p-lean',
  'kad-dht': 'libp2p-lean:kad-dht',
  'node-quic': 'libp2p-lean:node-quic',
};
/** The label of the Dockerfile's other stages. */
const STAGE_LABEL = 'libp2p-lean.stage';

const succeeds = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

/**
 * Whether a Docker engine answers; where none does, `../shared/docker-up`, if there is such a file, starts one.
 */
const engineRuns = () => {
  if (succeeds('docker', 'info')) return true;
  const up = path.join(root, '../shared/docker-up');
  if (!existsSync(up)) return false;
  console.error('docker: no engine answers; ../shared/docker-up starts one');
  return spawnSync(up, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
};

/** Runs the docker command and returns its stdout, trimmed. @throws with its stderr. */
const docker = (...args) => {
  try {
    return execFileSync('docker', args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    }).trim();
  } catch (error) {
    throw new Error(`docker ${args.join(' ')}: ${String(error.stderr).trim()}`);
  }
};

/** The output of `docker image inspect`; undefined if there is no such image. */
const inspectImage = (name) => {
  try {
    return JSON.parse(docker('image', 'inspect', name))[0];
  } catch {
    return undefined;
  }
};

// build

/** @throws when the build fails; its output goes to this process's stderr. */
const buildImage = (target, buildArgs = {}) => {
  const args = Object.entries(buildArgs).flatMap(([name, value]) => [
    '--build-arg',
    `${name}=${value}`,
  ]);
  const hasBuildKit = succeeds('docker', 'buildx', 'version');
  // The old builder leaves the container of a failed step behind unless told otherwise.
  const old = hasBuildKit ? undefined : { flags: ['--force-rm'], env: { DOCKER_BUILDKIT: '0' } };
  const before = inspectImage(IMAGES[target])?.Id;
  const { status } = spawnSync(
    'docker',
    ['build', ...(old?.flags ?? []), '--target', target, '--tag', IMAGES[target], ...args, '.'],
    { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, ...old?.env } },
  );
  if (status !== 0) throw new Error(`docker build --target ${target} failed`);
  // The previous image of this name is removed, unless it has another name or a container.
  if (before !== undefined && before !== inspectImage(IMAGES[target])?.Id) {
    if (inspectImage(before)?.RepoTags.length === 0) succeeds('docker', 'image', 'rm', before);
  }
};

/** The base image for building quinn; where no image with cargo is available, the images have no quinn. */
const rustImage = () => {
  const rust = 'rust:1-slim-bookworm';
  if (inspectImage(rust) !== undefined || succeeds('docker', 'pull', rust)) return {};
  console.log(`skipped: the quinn engine (there is no image ${rust}); the images run on quiche`);
  return { RUST_IMAGE: 'node:26-bookworm-slim' };
};

const findNodeQuicTree = () => {
  const named = process.env.NODE_QUIC_TREE;
  if (named && !existsSync(named))
    throw new Error(`NODE_QUIC_TREE is ${named}, which does not exist`);
  if (named) return path.resolve(named);
  const shared = path.join(root, '../shared/node-quic.tar.xz');
  return existsSync(shared) ? shared : undefined;
};

/** A build only sees its context, so the tree is copied there for the time of the build. */
const buildFromTree = (tree) => {
  const extension = statSync(tree).isDirectory()
    ? ''
    : path.basename(tree).replace(/^.*?(?=\.tar)/, '');
  const copy = `node-quic-tree${extension}`;
  const remove = () => rmSync(path.join(root, copy), { recursive: true, force: true });
  remove();
  try {
    cpSync(tree, path.join(root, copy), { recursive: true, verbatimSymlinks: true });
    buildImage('node-quic', { NODE_QUIC_TREE: copy, ...rustImage() });
  } finally {
    remove();
  }
};

/** Builds the images that can be built here, prints their names, and removes stages that the old builder leaves. */
const build = () => {
  if (!engineRuns()) throw new Error('no Docker engine answers');
  try {
    const arguments_ = rustImage();
    for (const target of ['quinn', 'kad-dht']) buildImage(target, arguments_);
    const tree = findNodeQuicTree();
    if (tree !== undefined) buildFromTree(tree);
    else if (process.env.NODE_QUIC_SOURCE === 'yes')
      buildImage('node-quic', { NODE_QUIC_SOURCE: 'yes', ...rustImage() });
    else
      console.log(
        `skipped: ${IMAGES['node-quic']} (NODE_QUIC_TREE is not set; see docs/container.md)`,
      );
  } finally {
    docker('image', 'prune', '--force', '--filter', `label=${STAGE_LABEL}`);
  }
  console.log(
    docker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}  {{.Size}}', 'libp2p-lean'),
  );
};

// test

const test = () => {
  if (!engineRuns()) {
    console.log('skipped: docker-test (no Docker engine answers)');
    return;
  }
  build();
  const { status } = spawnSync(
    path.join(root, 'node_modules/node/bin/node'),
    ['--test', '--test-reporter=spec', 'test/docker/containers.ts'],
    { cwd: root, stdio: 'inherit' },
  );
  process.exitCode = status ?? 1;
};

// measure

/** From `docker run` to the listener's address in Redis, beside the same container doing nothing. */
const measure = async (runs = '15', ...images) => {
  if (!engineRuns()) throw new Error('no Docker engine answers');
  // Imported here, as the other commands run without node_modules.
  const { median } = await import('d3-array');
  const network = `libp2p-lean-measure-${randomBytes(4).toString('hex')}`;
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
  process.on('exit', () => {
    const ids = docker('ps', '--all', '--quiet', '--filter', `network=${network}`).split('\n');
    if (ids[0] !== '') docker('rm', '--force', ...ids);
    docker('network', 'rm', network);
  });
  docker('network', 'create', network);
  const placed = ['--detach', '--network', network];
  const redisId = docker('run', ...placed, '--network-alias', 'redis', 'redis:7-alpine');
  const field = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
  const redis = await connectTo(docker('inspect', '-f', field, redisId));
  const named = images.length > 0 ? images : Object.values(IMAGES);
  const times = new Map(
    named
      .filter((image) => inspectImage(image) !== undefined)
      .map((image) => [image, { published: [], stopped: [], nothing: [] }]),
  );
  // In turn, so that other load affects all alike; the first round is a warm-up.
  for (let round = 0; round <= Number(runs); round++) {
    for (const [image, taken] of times) {
      const { published, stopped } = await measureListener(image, placed, redis);
      const nothing = measureNothing(image, network);
      if (round === 0) continue;
      taken.published.push(published);
      taken.stopped.push(stopped);
      taken.nothing.push(nothing);
    }
  }
  redis.destroy();
  for (const [image, { published, stopped, nothing }] of times) {
    const { Size, RootFS } = inspectImage(image);
    const milliseconds = (values) => `${median(values).toFixed(0)} ms`;
    console.log(`${image}
  size, layers                     ${(Size / 1e6).toFixed(0)} MB, ${RootFS.Layers.length}
  docker run to address published  ${milliseconds(published)} (median of ${runs})
  docker run node -e 0             ${milliseconds(nothing)}
  docker stop                      ${milliseconds(stopped)}`);
  }
};

const TEST_KEY = 'a5b50d5e';

const measureListener = async (image, placed, redis) => {
  const popped = once(redis, 'data');
  redis.write(`BLPOP ${TEST_KEY}_listener_multiaddr 60\r\n`);
  const environment = {
    IS_DIALER: 'false',
    TRANSPORT: 'quic-v1',
    LISTENER_IP: '0.0.0.0',
    REDIS_ADDR: 'redis:6379',
    TEST_KEY,
  };
  const options = Object.entries(environment).flatMap(([name, value]) => [
    '--env',
    `${name}=${value}`,
  ]);
  const start = performance.now();
  const id = docker('run', ...placed, ...options, image);
  const [reply] = await popped;
  const published = performance.now() - start;
  if (!String(reply).includes('/quic-v1/p2p/')) throw new Error(`Redis answered ${reply}`);
  const stopStart = performance.now();
  docker('stop', id);
  const stopped = performance.now() - stopStart;
  docker('rm', id);
  return { published, stopped };
};

/** The time that a container of the image takes to run `node -e 0`, ms. */
const measureNothing = (image, network) => {
  // The last word is the launcher.
  const [node = 'node', ...flags] = inspectImage(image).Config.Entrypoint.slice(0, -1);
  const args = ['--network', network, '--entrypoint', node, image, ...flags, '-e', '0'];
  const start = performance.now();
  docker('run', '--rm', ...args);
  return performance.now() - start;
};

const connectTo = async (host) => {
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
};

const COMMANDS = { build, test, measure };
const { positionals } = argumentsOf('build\ntest\nmeasure [runs] [image ...]', {}, 1_000);
const [name = '', ...args] = positionals;
if (!Object.hasOwn(COMMANDS, name))
  wrongArguments(`one of ${Object.keys(COMMANDS).join(', ')} is wanted`);
if (name === 'measure' && !/^[1-9]\d{0,3}$/.test(args[0] ?? '15'))
  wrongArguments('runs must be a number');
try {
  await COMMANDS[name](...args);
} catch (error) {
  console.error(`docker: ${error.message}`);
  process.exitCode = 1;
}
