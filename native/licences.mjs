// node native/licences.mjs → native/LICENCES.txt: the licences of the crates that are part of quinn.node, to be
// passed on with it. To be run when Cargo.lock has changed; native/check.mjs tells when.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.join(here, 'LICENCES.txt');
const cargo = (...args) =>
  execFileSync('cargo', args, { cwd: here, encoding: 'utf8', maxBuffer: 64 << 20 });

/** `name version` of what is linked, whatever the platform: no build scripts, no macros. */
const linked = () => {
  const tree = cargo(
    ...['tree', '--locked', '--target', 'all', '--edges', 'normal,no-proc-macro'],
    ...['--prefix', 'none', '--format', '{p}'],
  );
  const lines = tree.split('\n').map((line) => line.split(' ').slice(0, 2).join(' '));
  return new Set(lines.filter((line) => line !== '' && !line.startsWith('libp2p-lean')));
};

/** Where there is a choice, MIT's text alone, which is short. */
const textsOf = (folder, licence) => {
  const files = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && /^(licen[cs]e|copying|copyright|notice)/i.test(entry.name))
    .map(({ name }) => name)
    .sort();
  const mit = / OR |\//.test(licence) ? files.filter((name) => /mit/i.test(name)) : [];
  return (mit.length > 0 ? mit : files).map((name) =>
    readFileSync(path.join(folder, name), 'utf8').replaceAll('\r', '').trim(),
  );
};

const headline = () => {
  const lock = createHash('sha256').update(readFileSync(path.join(here, 'Cargo.lock')));
  return `quinn.node holds these crates (Cargo.lock ${lock.digest('hex').slice(0, 12)}), under these licences:`;
};

const write = () => {
  const crates = linked();
  const { packages } = JSON.parse(cargo('metadata', '--locked', '--format-version', '1'));
  /** By text: many crates have the very same. */
  const users = new Map();
  const heads = [];
  for (const { name, version, license, manifest_path: manifest } of packages) {
    if (!crates.has(`${name} v${version}`)) continue;
    heads.push(`${name} ${version}: ${license}`);
    for (const text of textsOf(path.dirname(manifest), license)) {
      users.set(text, [...(users.get(text) ?? []), name]);
    }
  }
  const rule = '-'.repeat(80);
  const texts = [...users].map(
    ([text, names]) => `${rule}\n${names.join(', ')}\n${rule}\n\n${text}\n`,
  );
  writeFileSync(out, `${[headline(), '', ...heads.sort(), '', ...texts].join('\n')}`);
};

/** Whether they were made of another Cargo.lock. */
export const licencesAreStale = () => !readFileSync(out, 'utf8').startsWith(headline());

if (process.argv[1] === fileURLToPath(import.meta.url)) write();
