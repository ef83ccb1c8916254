// `make docker`: builds the images that can be built here. The image node-quic needs a Node.js with
// node:quic: NODE_QUIC_TREE, the path of a built one (a directory or an archive, anywhere); else
// ../shared/node-quic.tar.xz where that exists; else, if NODE_QUIC_SOURCE=yes, the official sources.
import { cpSync, existsSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, docker, engineRuns, IMAGES, root } from './docker-engine.mjs';

const findTree = () => {
  const named = process.env.NODE_QUIC_TREE;
  if (named && !existsSync(named))
    throw new Error(`NODE_QUIC_TREE is ${named}, which does not exist`);
  if (named) return path.resolve(named);
  const shared = path.join(root, '../shared/node-quic.tar.xz');
  return existsSync(shared) ? shared : undefined;
};

/** A build sees nothing outside its context, so the tree is copied there for as long as it takes. */
const buildFromTree = (tree) => {
  const extension = statSync(tree).isDirectory()
    ? ''
    : path.basename(tree).replace(/^.*?(?=\.tar)/, '');
  const copy = `node-quic-tree${extension}`;
  const remove = () => rmSync(path.join(root, copy), { recursive: true, force: true });
  remove();
  try {
    cpSync(tree, path.join(root, copy), { recursive: true, verbatimSymlinks: true });
    build('node-quic', { NODE_QUIC_TREE: copy });
  } finally {
    remove();
  }
};

/** Builds what can be built and prints its names. */
export const buildImages = () => {
  build('quiche');
  const tree = findTree();
  if (tree !== undefined) buildFromTree(tree);
  else if (process.env.NODE_QUIC_SOURCE === 'yes') build('node-quic', { NODE_QUIC_SOURCE: 'yes' });
  else
    console.log(
      `skipped: ${IMAGES['node-quic']} (NODE_QUIC_TREE is not set; see docs/container.md)`,
    );
  console.log(
    docker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}  {{.Size}}', 'libp2p-lean'),
  );
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (!engineRuns()) throw new Error('no Docker engine answers');
    buildImages();
  } catch (error) {
    console.error(`docker: ${error.message}`);
    process.exit(1);
  }
}
