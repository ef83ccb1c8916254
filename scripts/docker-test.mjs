// `make docker-test`: builds the images and tests them; one line where there is no Docker engine.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { buildImages } from './docker-build.mjs';
import { engineRuns, root } from './docker-engine.mjs';

if (!engineRuns()) {
  console.log('skipped: docker-test (no Docker engine answers)');
  process.exit(0);
}
try {
  buildImages();
} catch (error) {
  console.error(`docker-test: ${error.message}`);
  process.exit(1);
}
const { status } = spawnSync(
  path.join(root, 'node_modules/node/bin/node'),
  ['--test', '--test-reporter=spec', 'test/docker/containers.ts'],
  { cwd: root, stdio: 'inherit' },
);
process.exit(status ?? 1);
