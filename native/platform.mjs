// node native/platform.mjs <platform> <directory> → <directory>/<platform>.node, the binary of the quinn
// engine for a platform of platforms.mjs. Those of Linux and, from another system, of macOS are linked with
// zig (`pip install cargo-zigbuild ziglang`), so that they run on every glibc from 2.28 on, as Node.js does.
// Each wants its standard library: `rustup target add $(node native/platform.mjs --target <platform>)`.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { target as targetFolder } from './build.mjs';
import { libraryOf, PLATFORMS } from './platforms.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
/** Red Hat 8's, and the least that Node.js 22 runs on. */
const GLIBC = '2.28';

const words = process.argv.slice(2);
const asked = words[0] === '--target';
const [platform = '', out = '.'] = asked ? words.slice(1) : words;
const known = PLATFORMS[platform];
if (known === undefined) {
  console.error(`native: a platform is wanted: ${Object.keys(PLATFORMS).join(', ')}`);
  process.exit(2);
}
const { target, libc } = known;
if (asked) {
  console.log(target);
  process.exit(0);
}
const os = platform.split('-')[0];
const zig = os === 'linux' || (os === 'darwin' && process.platform !== 'darwin');
const args = [
  zig ? 'zigbuild' : 'build',
  ...['--release', '--locked', '--manifest-path', path.join(here, 'Cargo.toml')],
  ...['--target', libc === 'glibc' ? `${target}.${GLIBC}` : target],
];
const env = { ...process.env, CARGO_TARGET_DIR: targetFolder };
// An addon is a shared library, also where programs are static.
if (libc === 'musl') env.RUSTFLAGS = '-C target-feature=-crt-static';
const { status } = spawnSync('cargo', args, { stdio: ['ignore', 2, 2], env });
if (status !== 0) {
  console.error(`native: cargo ${args[0]} for ${target} failed`);
  process.exit(1);
}
mkdirSync(out, { recursive: true });
copyFileSync(
  path.join(targetFolder, target, 'release', libraryOf(os)),
  path.join(out, `${platform}.node`),
);
console.log(path.join(out, `${platform}.node`));
