// Completes package-lock.json with the platform packages that a partial registry mirror left out.
//
// npm drops an optional dependency that it cannot fetch from the lock file, and `npm ci` then
// refuses the lock file as out of sync. This adds the missing entries (version, os, cpu; no
// integrity, which cannot be known without the package), so that `npm ci` works on every platform.
//
//   node scripts/complete-lock.mjs [package-lock.json]
import { readFileSync, writeFileSync } from 'node:fs';
import { argumentsOf } from './arguments.mjs';

const [file = 'package-lock.json'] = argumentsOf('[package-lock.json]', {}, 1).positionals;
const lock = JSON.parse(readFileSync(file, 'utf8'));
const OS = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
];
const CPU = ['arm64', 'arm', 'x64', 'ia32', 'ppc64', 'loong64', 'mips64el', 'riscv64', 's390x'];

for (const [parent, entry] of Object.entries(lock.packages)) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const nested = `${parent === '' ? '' : `${parent}/`}node_modules/${name}`;
    const hoisted = `node_modules/${name}`;
    if (lock.packages[nested] || lock.packages[hoisted]) continue;
    const words = name.split(/[-/@]/);
    const os = OS.filter((o) => words.includes(o));
    const cpu = words.includes('universal')
      ? ['x64', 'arm64']
      : CPU.filter((c) => words.includes(c));
    if (os.length === 0 || cpu.length === 0) {
      process.stderr.write(
        `complete-lock: ${name} (of ${parent || 'the project'}): platform unknown\n`,
      );
      continue;
    }
    lock.packages[hoisted] = {
      version: range.replace(/^[\^~=v]+/, ''),
      cpu,
      ...(parent !== '' && entry.dev ? { dev: true } : {}),
      optional: true,
      os,
      ...(words.includes('musl')
        ? { libc: ['musl'] }
        : words.includes('gnu')
          ? { libc: ['glibc'] }
          : {}),
    };
    process.stderr.write(`complete-lock: added ${name}@${range}\n`);
  }
}
lock.packages = Object.fromEntries(
  Object.keys(lock.packages)
    .sort()
    .map((key) => [key, lock.packages[key]]),
);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
