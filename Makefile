# Every target works on a fresh Debian machine with Node.js >= 20 and npm. What a machine lacks is
# skipped with one line, or installed where that is permitted.

NODE := node_modules/node/bin/node
COMMA := ,
# Test files at once: one more than there are cores, as most of the time a test waits. The default is one less.
TEST := --import ./test/support/file-limit.ts --test --test-concurrency=$(shell node -p 'os.availableParallelism() + 1') --test-reporter=spec
QUIC_FLAGS := --experimental-quic --disable-warning=ExperimentalWarning

.PHONY: help run test check lint unit unit-node-quic build docs fuzz soak bench bench-perf interop interop-all interop-gossipsub interop-js-libp2p conditions hostile round-trips nat nat-peers upstream-check docker docker-test release-check clean install

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

run: install  ## a listener and a dialer ping over QUIC, in both harness dialects
	@node scripts/redis.mjs
	@$(NODE) scripts/run.ts

test: check lint unit unit-node-quic  ## everything that can be tested on this machine

check: install  ## types
	npx --no-install tsc --noEmit

lint: install  ## lint and format; Rust where there is cargo
	npx --no-install biome ci --error-on-warnings $(if $(MAKE_TERMOUT),,--colors=off) .
	@node native/check.mjs

unit: install  ## all tests on the pinned Node.js (QUIC engines: quinn where there is cargo, quiche)
	@node scripts/redis.mjs || echo 'skipped: tests that need Redis'
	$(NODE) $(TEST) 'test/**/*.test.ts'

unit-node-quic: install  ## QUIC and harness tests on a Node.js with node:quic (NODE_QUIC)
	@if [ -z "$$NODE_QUIC" ]; then echo 'skipped: tests on node:quic (NODE_QUIC is not set)'; else \
	  set -x; "$$NODE_QUIC" $(QUIC_FLAGS) $(TEST) 'test/quic/**/*.test.ts' 'test/node/*.test.ts' test/hostile-memory.test.ts test/transports/quic.test.ts test/transports/throwing-callbacks.test.ts test/interop/js-libp2p.test.ts 'test/js-libp2p/*.test.ts' test/harness/transport-test.test.ts test/harness/hostile-peers.test.ts test/cli/quic-trace.test.ts; fi

build: install  ## dist/: the library and the bundled command line
	npm run --silent build

docs: install  ## docs/api.md, from the docstrings
	$(NODE) scripts/api-docs.mjs

fuzz: install  ## fuzz every parser that the network reaches: FUZZ='--seconds 60', two at once
	$(NODE) fuzz/fuzz.ts $(FUZZ)

soak: install  ## an hour of connections, transfers, aborts and kills over every stack: SOAK='--minutes 60'
	$(NODE) bench/long-run.ts $(SOAK)

bench: install build  ## the numbers of bench/README.md
	@node scripts/redis.mjs
	$(NODE) bench/run.ts

bench-perf: install  ## throughput and latency beside go, rust and js: bench/perf.md, results/perf.html
	$(NODE) bench/perf.ts

interop: install build  ## the interop matrix, with every peer this machine can build
	@node scripts/redis.mjs
	$(NODE) interop/matrix.ts
	$(NODE) interop/kad-dht.ts --impl-select '~newest' --transport-select tcp

interop-all: interop  ## and all of the kad-dht suite, and gossipsub-interop, which needs root
	$(NODE) interop/kad-dht.ts
	$(NODE) interop/gossipsub.ts

interop-js-libp2p: install  ## js-libp2p's own interop suites and protocols over our QUIC, against go- and rust-libp2p (minutes)
	$(NODE) interop/build-peers.ts daemon-go-libp2p-daemon-v0.9 identify-go-v0.51 identify-rust-v0.57 hole-punch-rust-v0.57
	$(NODE) --test test/js-libp2p/interop-suites.ts test/js-libp2p/protocols.test.ts

conditions: install build  ## every implementation under network conditions, 20 times each (hours): CONDITIONS='--conditions loss5'
	@node scripts/redis.mjs
	$(NODE) interop/matrix.ts --pairs same $(or $(CONDITIONS),--conditions all --test-select '(quic-v1)|(tcp$(COMMA) noise$(COMMA) yamux)')

hostile: install build  ## hostile peers against our listeners; needs root: HOSTILE='--implementations go-v0.51'
	@node scripts/redis.mjs
	$(NODE) interop/hostile/main.ts $(or $(HOSTILE),--implementations libp2p-lean-quinn$(COMMA)libp2p-lean-node$(COMMA)libp2p-lean-quiche$(COMMA)libp2p-lean-v0.1)

round-trips: install build  ## round trips of QUIC, TCP and WebSocket by delay and loss; needs root: bench/round-trips.md
	$(NODE) bench/round-trips.ts

interop-gossipsub: install build  ## test-plans' gossipsub-interop, nodes of several implementations in network namespaces; needs root
	$(NODE) interop/gossipsub.ts

nat-peers: install  ## go- and rust-libp2p for the tests of test/nat (minutes)
	$(NODE) interop/build-peers.ts hole-punch-go-v0.51 hole-punch-rust-v0.57 nat-go-v0.51

nat: install  ## who gets through which NATs, in network namespaces; needs root
	@node scripts/redis.mjs
	$(NODE) interop/nat.ts

upstream-check: install build  ## our container through both harnesses' compose files, in Docker
	$(NODE) interop/upstream/check.ts

docker:  ## build the container images that can be built here
	@node scripts/docker.mjs build

docker-test: install  ## build them; run listener, dialer and Redis as containers, in both dialects
	@node scripts/docker.mjs test

release-check: install  ## what a release does, but for the upload: publish to a registry of its own, install, ping
	@$(NODE) scripts/release.mjs check

clean:  ## remove what was built
	rm -rf dist results

install:
	@node scripts/install.mjs
	@node native/build.mjs --if-possible
