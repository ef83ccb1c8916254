/**
 * The platforms that a release has a binary of the quinn engine for, each a package of its own. `npm`
 * installs the one that fits; src/quic/quinn/binding.ts asks for it by this name.
 */
export const PLATFORMS = {
  'linux-x64-gnu': { target: 'x86_64-unknown-linux-gnu', libc: 'glibc' },
  'linux-arm64-gnu': { target: 'aarch64-unknown-linux-gnu', libc: 'glibc' },
  'linux-x64-musl': { target: 'x86_64-unknown-linux-musl', libc: 'musl' },
  'linux-arm64-musl': { target: 'aarch64-unknown-linux-musl', libc: 'musl' },
  'darwin-x64': { target: 'x86_64-apple-darwin' },
  'darwin-arm64': { target: 'aarch64-apple-darwin' },
  'win32-x64-msvc': { target: 'x86_64-pc-windows-msvc' },
};

/** `@libp2p-lean/quinn-linux-x64-gnu` */
export const packageOf = (platform) => `@libp2p-lean/quinn-${platform}`;

/** What cargo calls the library. */
export const libraryOf = (os) =>
  ({ darwin: 'liblibp2p_lean_quinn.dylib', win32: 'libp2p_lean_quinn.dll' })[os] ??
  'liblibp2p_lean_quinn.so';
