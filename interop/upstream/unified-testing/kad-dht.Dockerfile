# The image of unified-testing's kad-dht suite, for its runner, which builds the last stage of a file and
# cannot name another; the context is the root of this repository. `docker build --target kad-dht .` makes the
# smaller one, without a shell.
FROM node:26-bookworm-slim AS build
LABEL libp2p-lean.stage=build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY scripts/arguments.mjs scripts/build.mjs scripts/bundle.mjs scripts/tsconfig.build.json scripts/
COPY src src
RUN npm run build

FROM rust:1-slim-bookworm AS quinn-build
LABEL libp2p-lean.stage=quinn-build
WORKDIR /native
COPY native/Cargo.toml native/Cargo.lock native/build.rs ./
COPY native/src src
RUN mkdir /quinn; \
    if command -v cargo >/dev/null; then \
      cargo build --release --locked && cp target/release/liblibp2p_lean_quinn.so /quinn/quinn.node; \
    else echo 'skipped: the quinn engine (this image has no cargo)'; fi

FROM node:26-bookworm-slim
COPY package.json LICENSE-APACHE LICENSE-MIT /app/
COPY bin/libp2p-lean bin/code-cache.js bin/node-quic.js bin/package.json bin/quinn.js /app/bin/
COPY --from=build /app/dist/suites.cjs /app/dist/suites.cjs.LEGAL.txt /app/dist/
COPY --from=quinn-build /quinn /app/native
COPY native/LICENCES.txt /app/native/
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["/usr/local/bin/node", "/app/bin/libp2p-lean"]
CMD ["kad-dht"]
