/** What a node counts: with prom-client, as users would, over real connections. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Counter, Histogram, Registry } from 'prom-client';
import { createTextRegistry } from '../../src/cli/prometheus.ts';
import type { MetricsRegistry } from '../../src/node/metrics.ts';
import { createNode, type LeanNode } from '../../src/node/node.ts';
import { handlePerf, PERF, perf } from '../../src/protocols/perf.ts';
import { ping } from '../../src/protocols/ping.ts';
import { quic, tcp } from '../../src/transports/factories.ts';
import { SUITE } from '../support/suite-limit.ts';

const withPromClient = (): { registry: Registry; metrics: MetricsRegistry } => {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    metrics: {
      counter: (options) => new Counter({ ...options, registers }),
      histogram: (options) => new Histogram({ ...options, registers }),
    },
  };
};

/** `name{a="b"}` → value. */
const valuesOf = (text: string): Map<string, number> =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
  );

/** The registry's text once `enough` holds: bytes are counted a little later. */
const scraped = async (
  registry: Registry,
  enough: (values: Map<string, number>) => boolean,
): Promise<Map<string, number>> => {
  let values = new Map<string, number>();
  // A bound, so that the file ends when a test has failed.
  for (let tries = 0; tries < 1_000; tries++) {
    values = valuesOf(await registry.metrics());
    if (enough(values)) return values;
    await delay(20);
  }
  throw new Error(`never enough: ${JSON.stringify([...values])}`);
};

const start = async (
  t: TestContext,
  metrics: MetricsRegistry | undefined,
  options: Partial<Parameters<typeof createNode>[0]> = {},
): Promise<LeanNode> => {
  const node = await createNode({ ...options, ...(metrics && { metrics }) });
  t.after(() => node.close());
  return node;
};

describe('metrics of a node', SUITE, () => {
  for (const [name, transport, address, via] of [
    ['tcp', tcp(), '/ip4/127.0.0.1/tcp/0', 'transport="tcp",engine=""'],
    [
      'quic-v1',
      quic({ engine: 'quiche' }),
      '/ip4/127.0.0.1/udp/0/quic-v1',
      'transport="quic-v1",engine="quiche"',
    ],
  ] as const) {
    test(`${name}: connections, handshakes, streams, bytes, on both sides`, async (t) => {
      const [here, there] = [withPromClient(), withPromClient()];
      const dialer = await start(t, here.metrics, { transports: [transport] });
      const listener = await start(t, there.metrics, { transports: [transport] });
      listener.handle(PERF, async (stream) => void (await handlePerf(stream)));
      const { address: where } = await listener.listen(address);
      const connection = await dialer.dial(where);
      await ping(connection);
      await perf(connection, 100_000, 50_000);

      // The count, 8 bytes, goes up first; ping's 32 both ways.
      const [sent, received] = ['sent', 'received'].map(
        (direction) => `libp2p_stream_bytes_total{${via},direction="${direction}"}`,
      ) as [string, string];
      const ours = await scraped(here.registry, (it) => it.get(received) === 50_032);
      assert.equal(ours.get(sent), 100_040);
      const theirs = await scraped(there.registry, (it) => it.get(received) === 100_040);
      assert.equal(theirs.get(sent), 50_032);

      for (const [values, direction] of [
        [ours, 'outbound'],
        [theirs, 'inbound'],
      ] as const) {
        const labels = `{${via},direction="${direction}"}`;
        assert.equal(values.get(`libp2p_connections_opened_total${labels}`), 1);
        const stream = `{direction="${direction}",protocol="${PERF}"}`;
        assert.equal(values.get(`libp2p_streams_opened_total${stream}`), 1);
        // A QUIC listener does not know.
        const known = direction === 'outbound' || name === 'tcp' ? 1 : undefined;
        assert.equal(values.get(`libp2p_handshake_seconds_count${labels}`), known);
      }
      assert.ok((connection.handshakeTime ?? 0) > 0);

      await connection.close();
      const closed = `libp2p_connections_closed_total{${via},direction="inbound"}`;
      await scraped(there.registry, (it) => it.get(closed) === 1);
    });
  }

  test('refusals and failures, by reason', async (t) => {
    const [here, there] = [withPromClient(), withPromClient()];
    const transports = [tcp({ secureChannels: ['noise'] })];
    const dialer = await start(t, here.metrics, { transports });
    const limits = { maxConnectionsPerPeer: 1 };
    const listener = await start(t, there.metrics, { transports, limits });
    listener.handle('/fails/1', () => Promise.reject(new Error('words of a peer')));
    const { address } = await listener.listen('/ip4/127.0.0.1/tcp/0');
    const connection = await dialer.dial(address);
    const nobody = await connection.newStream('/nobody/1');
    await assert.rejects(nobody.read());
    const failing = await connection.newStream('/fails/1');
    await assert.rejects(failing.read());
    await (await dialer.dial(address, { force: true })).closed;
    await assert.rejects(dialer.dial('/ip4/127.0.0.1/tcp/1'));

    const values = await scraped(
      there.registry,
      (it) => it.get('libp2p_connections_refused_total{reason="ERR_CONNECTION_CLOSED"}') === 1,
    );
    const refused = 'libp2p_streams_refused_total{reason="ERR_PROTOCOL_NOT_SUPPORTED"}';
    assert.equal(values.get(refused), 1);
    assert.equal(values.get('libp2p_streams_failed_total{protocol="/fails/1",reason="other"}'), 1);
    const dials = 'libp2p_dials_failed_total{transport="tcp",reason="ERR_DIAL"}';
    await scraped(here.registry, (it) => it.get(dials) === 1);
  });

  test('bytes that are put back and read again count once', async (t) => {
    const { registry, metrics } = withPromClient();
    const transports = [tcp()];
    const [dialer, listener] = [
      await start(t, undefined, { transports }),
      await start(t, metrics, { transports }),
    ];
    listener.handle('/back/1', async (stream) => {
      const chunk = await stream.read();
      if (chunk === null) return;
      stream.unread(chunk.subarray(1));
      for await (const _ of stream);
    });
    const { address } = await listener.listen('/ip4/127.0.0.1/tcp/0');
    const stream = await (await dialer.dial(address)).newStream('/back/1');
    stream.write(new Uint8Array(1000));
    stream.closeWrite();
    assert.equal(await stream.read(), null);
    const received = 'libp2p_stream_bytes_total{transport="tcp",engine="",direction="received"}';
    const values = await scraped(registry, (it) => (it.get(received) ?? 0) >= 1000);
    assert.equal(values.get(received), 1000);
  });
});

describe('the text of listen --metrics', SUITE, () => {
  test("is prom-client's", async () => {
    const { registry, metrics } = withPromClient();
    const own = createTextRegistry();
    for (const one of [metrics, own]) {
      const counter = one.counter({ name: 'some_total', help: 'Some', labelNames: ['a', 'b'] });
      counter.inc({ a: 'x', b: 'with "quotes", \\ and \n' });
      counter.inc({ a: 'x', b: '' }, 41.5);
      counter.inc({ a: 'x', b: '' }, 0.5);
      const histogram = one.histogram({
        name: 'time_seconds',
        help: 'Time',
        labelNames: ['a'],
        buckets: [0.1, 1, 10],
      });
      for (const value of [0.05, 0.1, 5, 50]) histogram.observe({ a: 'y' }, value);
      histogram.observe({ a: 'z' }, 0.5);
      one.counter({ name: 'none_total', help: 'Never counted', labelNames: ['a'] });
    }
    assert.equal(own.text(), await registry.metrics());
  });

  test('does not grow without end', () => {
    const own = createTextRegistry();
    const counter = own.counter({ name: 'many_total', help: 'Many', labelNames: ['a'] });
    for (let i = 0; i < 5_000; i++) counter.inc({ a: `${i}` });
    counter.inc({ a: '1' });
    assert.equal(valuesOf(own.text()).size, 1_000);
    assert.equal(valuesOf(own.text()).get('many_total{a="1"}'), 2);
  });
});

test('the dashboard asks for what there is, and its first panel is the share by transport', async () => {
  const names = new Set<string>();
  const noted = ({ name }: { readonly name: string }) => {
    names.add(name);
    return { inc: () => {}, observe: () => {} };
  };
  const node = await createNode({
    transports: [tcp()],
    metrics: { counter: noted, histogram: noted },
  });
  await node.close();
  const file = new URL('../../docs/grafana/libp2p-lean.json', import.meta.url);
  const { panels }: { panels: Panel[] } = JSON.parse(readFileSync(file, 'utf8'));
  assert.equal(panels[0]?.title, 'Share of connections by transport');
  const asked = new Set(
    panels.flatMap(({ targets }) =>
      targets.flatMap(
        ({ expr }) => expr.match(/libp2p_\w+/g)?.map((it) => it.replace(/_bucket$/, '')) ?? [],
      ),
    ),
  );
  assert.deepEqual([...asked].toSorted(), [...names].toSorted());
});

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}
