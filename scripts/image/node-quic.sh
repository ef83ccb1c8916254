#!/bin/sh
# In the image node-quic-tree: puts a Node.js with node:quic into /opt/node-quic, from what /given holds or
# else from the official sources.
set -eu

prefix=/opt/node-quic
mkdir -p "$prefix/bin"

from_tree() { # $1: its bin/node
  echo "node-quic: taking the tree $(dirname "$(dirname "$1")")"
  rmdir "$prefix/bin"
  cp -a "$(dirname "$(dirname "$1")")/." "$prefix/"
}

# Clang and libc++ 19: bookworm's GCC is too old for Node.js 26. libc++ is linked in, and so needs
# nothing where it runs.
from_sources() {
  echo "node-quic: building Node.js $NODE_QUIC_VERSION from $NODE_QUIC_URL"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends ca-certificates clang-19 curl libc++-19-dev \
    libc++abi-19-dev libunwind-19-dev make ninja-build python3 xz-utils >/dev/null
  mkdir /src && cd /src
  curl -fsSL --retry 3 -o node.tar.xz "$NODE_QUIC_URL"
  sha256="$NODE_QUIC_SHA256"
  if [ -z "$sha256" ]; then
    sha256="$(curl -fsSL --retry 3 "${NODE_QUIC_URL%/*}/SHASUMS256.txt" \
      | sed -n "s,^\([0-9a-f]\{64\}\)  ${NODE_QUIC_URL##*/}\$,\1,p")"
  fi
  echo "$sha256  node.tar.xz" | sha256sum -c -
  tar -xJf node.tar.xz --strip-components=1
  # Temporal would need a Rust toolchain.
  CC=clang-19 CXX='clang++-19 -stdlib=libc++' LDFLAGS='-stdlib=libc++ -static-libstdc++ -static-libgcc' \
    ./configure --ninja --experimental-quic --v8-disable-temporal-support --without-npm \
      --with-intl=small-icu --prefix=/opt/node-quic
  ninja -C out/Release node
  strip -o "$prefix/bin/node" out/Release/node
  cp LICENSE "$prefix/"
}

given="$(find /given -path '*/bin/node' -type f | head -n 1)"
if [ -n "$given" ]; then
  from_tree "$given"
elif [ -n "$NODE_QUIC_TREE" ]; then
  echo "node-quic: NODE_QUIC_TREE=$NODE_QUIC_TREE has no bin/node in it" >&2
  exit 1
elif [ "$NODE_QUIC_SOURCE" = yes ]; then
  from_sources
else
  echo 'node-quic: not built. Set NODE_QUIC_TREE to a built tree, or NODE_QUIC_SOURCE=yes.'
  cat >"$prefix/bin/node" <<'STUB'
#!/bin/sh
echo 'libp2p-lean: this image has no Node.js: build it with NODE_QUIC_TREE or NODE_QUIC_SOURCE=yes' >&2
exit 127
STUB
  chmod 755 "$prefix/bin/node"
  touch "$prefix/SKIPPED"
  exit 0
fi

"$prefix/bin/node" --version >/dev/null
"$prefix/bin/node" --experimental-quic -e 'process.exit(process.features.quic ? 0 : 1)' || {
  echo "node-quic: node:quic is missing in $("$prefix/bin/node" --version)" >&2
  exit 1
}
