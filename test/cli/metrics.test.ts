/** `libp2p-lean listen --metrics`, scraped over HTTP. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { run, start } from '../support/participant.ts';

const HANG = { timeout: 60_000 };

test('listen --metrics serves what was counted', HANG, async (t) => {
  const listener = start(['listen', '--metrics', '0', '/ip4/127.0.0.1/tcp/0'], {});
  t.after(() => listener.dispose());
  const [url = ''] = await listener.waitFor(/http:\/\/127\.0\.0\.1:\d+\/metrics/, 'stderr');
  const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
  const { code, stderr } = await run(['ping', '-c', '2', '-i', '0', address], {});
  assert.equal(code, 0, stderr);
  for (let text = ''; !text.includes('libp2p_connections_closed_total{'); await delay(20)) {
    const response = await fetch(url);
    assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    text = await response.text();
    if (!text.includes('_closed_total{')) continue;
    const via = 'transport="tcp",engine="",direction="inbound"';
    assert.ok(text.includes(`libp2p_connections_opened_total{${via}} 1\n`), text);
    assert.ok(text.includes('direction="inbound",protocol="/ipfs/ping/1.0.0"} 1\n'), text);
    assert.ok(text.includes(`libp2p_handshake_seconds_count{${via}} 1\n`), text);
  }
  assert.equal((await fetch(new URL('/', url))).status, 404);
  assert.equal((await fetch(url, { method: 'POST' })).status, 404);
});

test('connections that only stay do not keep a scraper out', HANG, async (t) => {
  const listener = start(['listen', '--metrics', '0', '/ip4/127.0.0.1/tcp/0'], {});
  t.after(() => listener.dispose());
  const [url = ''] = await listener.waitFor(/http:\/\/127\.0\.0\.1:\d+\/metrics/, 'stderr');
  const port = Number(new URL(url).port);
  for (let i = 0; i < 40; i++) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    socket.write('GET /metrics HTTP/1.1\r\n');
  }
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.match(await response.text(), /^# HELP libp2p_/);
});

test('a port that is taken, and what is no port: one line', HANG, async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await once(taken, 'listening');
  const address = taken.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const failed = await run(['listen', '--metrics', `${port}`, '/ip4/127.0.0.1/tcp/0'], {});
  assert.equal(failed.code, 1);
  assert.equal(failed.stdout, '');
  assert.match(failed.stderr, /^libp2p-lean: cannot serve metrics: listen EADDRINUSE.*\n$/);
  for (const wrong of ['70000', 'localhost:1', 'x', '1.2.3.4']) {
    const { code, stderr } = await run(['listen', '--metrics', wrong], {});
    assert.equal(code, 2, wrong);
    assert.match(stderr, /^libp2p-lean: .*--metrics.*\n$/);
  }
});
