# The QUIC participant of the libp2p interop matrices. docs/container.md says what it does.
#
#   docker build -t libp2p-lean .                                the quinn engine, on stock Node.js
#   docker build -t libp2p-lean:node-quic --target node-quic .   node:quic, on a Node.js built with it
#   docker build -t libp2p-lean:kad-dht --target kad-dht .       unified-testing's kad-dht suite, on js-libp2p
#
# Builds with BuildKit and with the builder before it. The old one builds every stage above the one it
# is asked for, wanted or not: `--target quinn` spares it the last ones.
#
# The images hold one Node.js, the libraries that it loads and /app: no shell, no package manager. The
# other stages are labelled, so that what the old builder leaves of them can be found and removed.

ARG RUST_IMAGE=rust:1-slim-bookworm

# --- dist/cli.cjs: everything but native code in one file
FROM node:26-bookworm-slim AS build
LABEL libp2p-lean.stage=build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY scripts/arguments.mjs scripts/build.mjs scripts/bundle.mjs scripts/tsconfig.build.json scripts/
COPY src src
RUN npm run build

# --- the production dependencies, of which the bundle leaves only native code to be installed
FROM node:26-bookworm-slim AS dependencies
LABEL libp2p-lean.stage=dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts

# --- /quinn/quinn.node: the quinn engine. From an image without cargo, /quinn is empty and quiche runs.
FROM ${RUST_IMAGE} AS quinn-build
LABEL libp2p-lean.stage=quinn-build
WORKDIR /native
COPY native/Cargo.toml native/Cargo.lock native/build.rs ./
COPY native/src src
RUN mkdir /quinn; \
    if command -v cargo >/dev/null; then \
      cargo build --release --locked && cp target/release/liblibp2p_lean_quinn.so /quinn/quinn.node; \
    else echo 'skipped: the quinn engine (this image has no cargo)'; fi

# --- /app as the images have it, but for the code caches
FROM node:26-bookworm-slim AS app
LABEL libp2p-lean.stage=app
COPY package.json LICENSE-APACHE LICENSE-MIT /app/
COPY bin/libp2p-lean bin/code-cache.js bin/node-quic.js bin/package.json bin/quinn.js /app/bin/
COPY --from=build /app/dist/cli.cjs /app/dist/cli.cjs.LEGAL.txt /app/dist/
COPY --from=dependencies /app/node_modules/@infisical /app/node_modules/@infisical
COPY --from=quinn-build /quinn /app/native
COPY native/LICENCES.txt /app/native/

# --- the rest of the image's files, in /image; the code caches, made by the user that will run it
FROM app AS quinn-warm
COPY scripts/image /warm/
RUN sh /warm/root.sh /usr/local/bin/node $(find /app -name '*.node')
RUN mkdir /app/dist/.compile-cache && chown 1000:1000 /app/dist/.compile-cache
USER 1000:1000
RUN node /warm/warm.mjs /app/bin/libp2p-lean && chmod -R a+rX /app/dist/.compile-cache

# --- target quinn (the default)
FROM scratch AS quinn
COPY --from=quinn-warm --chown=0:0 /image /
COPY --from=quinn-warm --chown=0:0 /app /app
WORKDIR /app
USER 1000:1000
# Without arguments it is what the environment says: `transport`, in either harness's dialect.
ENTRYPOINT ["/usr/local/bin/node", "/app/bin/libp2p-lean"]
CMD []

# --- target kad-dht: what the default target has, and js-libp2p with its Kademlia
FROM quinn AS kad-dht
COPY --from=build --chown=0:0 /app/dist/suites.cjs /app/dist/suites.cjs.LEGAL.txt /app/dist/
CMD ["kad-dht"]

# --- /opt/node-quic: a Node.js with node:quic. Either NODE_QUIC_TREE, a path in the build context
#     (node-quic*, a directory or an archive) that holds bin/node, or built from the official sources.
FROM debian:bookworm-slim AS node-quic-tree
LABEL libp2p-lean.stage=node-quic-tree
ARG NODE_QUIC_TREE=
# A file that is always there stands in for "none".
ADD ${NODE_QUIC_TREE:-package.json} /given/
ARG NODE_QUIC_VERSION=26.10.0
ARG NODE_QUIC_URL=https://nodejs.org/dist/v${NODE_QUIC_VERSION}/node-v${NODE_QUIC_VERSION}.tar.xz
# Empty: the one that SHASUMS256.txt beside the sources says.
ARG NODE_QUIC_SHA256=
# Set by BuildKit, which gets here only for the target node-quic. The old builder also comes by on its
# way to the default target; there, NODE_QUIC_SOURCE=yes asks for the hours that the sources take.
ARG TARGETARCH
ARG NODE_QUIC_SOURCE=${TARGETARCH:+yes}
COPY scripts/image/node-quic.sh /
RUN sh /node-quic.sh

FROM node-quic-tree AS node-quic-warm
COPY --from=app /app /app
COPY scripts/image /warm/
# Without a Node.js there is a shell script that says so.
RUN if [ -e /opt/node-quic/SKIPPED ]; then sh /warm/root.sh /bin/sh; \
    else sh /warm/root.sh /opt/node-quic/bin/node $(find /app -name '*.node'); fi
RUN mkdir /app/dist/.compile-cache && chown 1000:1000 /app/dist/.compile-cache
USER 1000:1000
ENV QUIC_ENGINE=node
RUN if [ -e /opt/node-quic/SKIPPED ]; then exit 0; fi \
 && /opt/node-quic/bin/node --experimental-quic --disable-warning=ExperimentalWarning \
      /warm/warm.mjs /app/bin/libp2p-lean \
 && chmod -R a+rX /app/dist/.compile-cache

# --- target node-quic
FROM scratch AS node-quic
COPY --from=node-quic-warm --chown=0:0 /image /
COPY --from=node-quic-tree --chown=0:0 /opt/node-quic /opt/node-quic
COPY --from=node-quic-warm --chown=0:0 /app /app
WORKDIR /app
USER 1000:1000
ENV QUIC_ENGINE=node
# The launcher would find out and start node once more; a cold start is part of what is measured.
ENTRYPOINT ["/opt/node-quic/bin/node", "--experimental-quic", "--disable-warning=ExperimentalWarning", "/app/bin/libp2p-lean"]
CMD []

FROM quinn
