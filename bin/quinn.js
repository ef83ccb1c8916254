// Whether the binary of the quinn engine is here and can be loaded. If it can, the engine finds it loaded.
'use strict';

const path = require('node:path');

/**
 * The same files, in the same order, as findQuinn() of src/quic/quinn/binding.ts.
 *
 * @param root of the package or checkout
 * @param debug told why a file that is there is of no use
 */
const hasQuinn = (root, debug) => {
  const name = `@libp2p-lean/quinn-${process.platform}-${process.arch}`;
  const suffixes = { linux: ['-gnu', '-musl'], win32: ['-msvc'] }[process.platform] || [''];
  const packages = suffixes.map((suffix) => name + suffix);
  return [...packages, path.join(root, 'native', 'quinn.node')].some((file) => {
    try {
      require(file);
      return true;
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') debug(`quinn: ${error.message}`);
      return false;
    }
  });
};

module.exports = { hasQuinn };
