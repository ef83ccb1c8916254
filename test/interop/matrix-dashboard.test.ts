/** results.html in a real browser: Debian's Chromium, driven by playwright-core. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core';
import { allCells, slugOf, testKeyOf } from '../../interop/runner/cells.ts';
import { boxOf } from '../../interop/runner/dashboard/box-plot.ts';
import { parseImages } from '../../interop/runner/images.ts';
import {
  type Attempt,
  type ImplementationRecord,
  judge,
  type ParticipantRecord,
  RESULTS_SCHEMA,
  type Role,
  summarise,
} from '../../interop/runner/results.ts';
import { writeResults } from '../../interop/runner/write-results.ts';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const skip = existsSync(CHROMIUM) ? false : `no browser: ${CHROMIUM} is not installed`;

/** What a hostile peer may print: it must stay text wherever it turns up. */
const HOSTILE = `</script><script>document.title='owned'</script><img src=x onerror="document.title='owned'">`;

const images = parseImages(
  'images.yaml',
  `implementations:
  - { id: libp2p-lean-v0.1, ours: true, command: [x], transports: [quic-v1, tcp], secureChannels: [noise, tls], muxers: [yamux] }
  - { id: go-v1, path: x, transports: [quic-v1, tcp], secureChannels: [noise, tls], muxers: [yamux] }
  - { id: js-v3, path: x, transports: [quic-v1, tcp], secureChannels: [noise], muxers: [yamux] }
`,
);
const FAILS = 'libp2p-lean-v0.1 x js-v3 (quic-v1)';
const KNOWN = 'go-v1 x libp2p-lean-v0.1 (tcp, tls, yamux)';
const PEERS = 'js-v3 x go-v1 (quic-v1)';

/** Of the retry of the cell that fails. */
const TIMELINE = 'logs/lean_x_js-v3/retry/timeline.html';
const TRACE = 'logs/lean_x_js-v3/retry/dialer.traces/1-1-dialer.sqlog';

const folder = mkdtempSync(join(tmpdir(), 'libp2p-lean-dashboard-'));
const page = pathToFileURL(join(folder, 'results.html')).href;
let browser: Browser;

const write = async (): Promise<void> => {
  const known = new Map([
    [
      KNOWN,
      {
        test: KNOWN,
        reason: `a reason ${HOSTILE}`,
        evidence: `javascript:alert(1)`,
        intermittent: false,
      },
    ],
  ]);
  const record = async (cell: string, role: Role, failed: boolean): Promise<ParticipantRecord> => {
    const log = join('logs', slugOf(cell), `${role}.log`);
    await mkdir(dirname(join(folder, log)), { recursive: true });
    await writeFile(
      join(folder, log),
      `# log of the ${role} of ${cell}\n   0.100 err  ${HOSTILE}\n`,
    );
    return {
      command: ['/bin/peer', HOSTILE],
      env: { IS_DIALER: String(role === 'dialer') },
      exitCode: failed ? 1 : 0,
      signal: null,
      log,
      errorLines: failed ? [`Error: ${HOSTILE}`] : [],
    };
  };
  const cells = [];
  for (const [place, cell] of allCells(images.implementations).entries()) {
    const failed = [FAILS, KNOWN, PEERS].includes(cell.name);
    const attempt: Attempt = {
      status: failed ? 'fail' : 'pass',
      testKey: testKeyOf(cell.name),
      startedAt: '2026-01-02T03:04:05.000Z',
      durationMs: 900,
      handshakePlusOneRttMs: failed ? null : 4 + place,
      pingRttMs: failed ? null : 0.25,
      listenerReadyMs: 120,
      multiaddr: `/ip4/127.0.0.1/udp/1/quic-v1/${HOSTILE}`,
      network: null,
      failure: failed ? { kind: 'dialer-exit', message: `the dialer exited ${HOSTILE}` } : null,
      dialer: await record(cell.name, 'dialer', failed),
      listener: await record(cell.name, 'listener', failed),
    };
    const trace = { timeline: TIMELINE, files: [TRACE, `../${HOSTILE}`] };
    cells.push(
      judge(cell, [attempt], known, cell.name === FAILS ? { ...attempt, trace } : undefined),
    );
  }
  const implementations: ImplementationRecord[] = images.implementations.map((one) => ({
    ...one,
    version: null,
    skipped: null,
  }));
  const zig = { id: 'zig-v0', ours: false, version: null, transports: ['quic-v1'] };
  implementations.push({
    ...zig,
    secureChannels: [],
    muxers: [],
    dialOnly: [],
    skipped: `no toolchain ${HOSTILE}`,
  });
  await writeResults(
    {
      schema: RESULTS_SCHEMA,
      startedAt: '2026-01-02T03:04:05.000Z',
      completedAt: '2026-01-02T03:05:05.000Z',
      host: { os: 'linux', arch: 'x64', cpus: 2 },
      options: {
        exec: 'process',
        dialect: 'unified',
        workers: 2,
        timeoutSecs: 60,
        repeat: 1,
        seed: 1,
        filters: { '--test-select': HOSTILE },
      },
      shards: [],
      interrupted: null,
      summary: summarise(cells),
      implementations,
      cells,
    },
    folder,
  );
};

before(async () => {
  if (skip) return;
  await write();
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

// Expressions for the browser are text, as this project is type-checked without the DOM.
const FOCUSED = `document.activeElement?.getAttribute('aria-label') ?? ''`;
/** How bright the page's background is, 0 to 255. */
const GROUND = `(() => {
  const canvas = document.createElement('canvas').getContext('2d');
  canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
  canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data[0];
})()`;
const textOf = async (locator: Locator): Promise<string> => (await locator.textContent()) ?? '';

/** Opens the page, and fails on any request it makes, any error, any message on the console. */
const withPage = async (
  options: BrowserContextOptions,
  visit: (page: Page) => Promise<void>,
  hash = '',
): Promise<void> => {
  const context = await browser.newContext(options);
  const complaints: string[] = [];
  try {
    const tab = await context.newPage();
    tab.on('request', (request) => {
      if (request.url().split('#')[0] !== page && !request.url().startsWith('data:')) {
        complaints.push(`request: ${request.url()}`);
      }
    });
    tab.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
    tab.on('console', (message) => complaints.push(`console: ${message.text()}`));
    await tab.goto(page + hash);
    await visit(tab);
    assert.notEqual(await tab.title(), 'owned', 'what a peer printed ran as a script');
    assert.equal(await tab.locator('img').count(), 0, 'what a peer printed became markup');
  } finally {
    await context.close();
  }
  assert.deepEqual(complaints, []);
};

test('box plots: quartiles, and whiskers that leave out what lies far off', () => {
  assert.deepEqual(boxOf([1, 2, 3, 4, 5]), { low: 1, q1: 2, median: 3, q3: 4, high: 5 });
  assert.deepEqual(boxOf([5, 1, 100, 2, 4, 3]), {
    low: 1,
    q1: 2.25,
    median: 3.5,
    q3: 4.75,
    high: 5,
  });
  assert.deepEqual(boxOf([7]), { low: 7, q1: 7, median: 7, q3: 7, high: 7 });
});

test(
  'the page shows the verdict, a table for every combination, and every cell by name',
  { skip },
  () =>
    withPage({ viewport: { width: 1280, height: 800 } }, async (tab) => {
      assert.match(await textOf(tab.locator('h1')), /1 of 22 cells fails/);
      assert.deepEqual(await tab.locator('.matrix h3').allInnerTexts(), [
        'quic-v1',
        'tcp + noise + yamux',
        'tcp + tls + yamux',
      ]);
      assert.equal(await tab.locator('.cell').count(), 22);
      const failing = tab.getByRole('button', { name: 'libp2p-lean-v0.1 dials js-v3: FAIL' });
      assert.equal(await failing.count(), 1);
      // Not colour alone: each verdict has a symbol of its own.
      const symbols = await tab
        .locator('.cell use')
        .evaluateAll((uses) => [...new Set(uses.map((use) => use.getAttribute('href')))]);
      assert.deepEqual(symbols.sort(), ['#fail', '#known', '#pass', '#peer']);
      assert.match(
        await textOf(tab.locator('#implementations')),
        /zig-v0[\s\S]*skipped: no toolchain/,
      );
    }),
);

test(
  'a cell opens what was measured, the commands, the logs and the error lines of both sides',
  { skip },
  () =>
    withPage({ viewport: { width: 1280, height: 800 } }, async (tab) => {
      await tab.getByRole('button', { name: 'libp2p-lean-v0.1 dials js-v3: FAIL' }).click();
      const detail = tab.locator('dialog');
      await detail.getByText('log of the listener of libp2p-lean-v0.1 x js-v3 (quic-v1)').waitFor();
      const text = await textOf(detail);
      for (const part of [
        'libp2p-lean-v0.1 → js-v3',
        'the dialer exited </script>',
        'First relevant lines',
        'IS_DIALER=true /bin/peer',
        'log of the dialer of libp2p-lean-v0.1 x js-v3 (quic-v1)',
        "libp2p-lean-matrix --test-select 'libp2p-lean-v0.1 x js-v3 (quic-v1)'",
      ]) {
        assert.ok(text.includes(part), part);
      }
      assert.equal(await detail.locator('.errors').count(), 2);
      await tab.keyboard.press('Escape');
      assert.equal(await detail.isVisible(), false);
      const focused = await tab.evaluate<string>(FOCUSED);
      assert.equal(focused, 'libp2p-lean-v0.1 dials js-v3: FAIL');

      // A known failure says why; evidence that is no web address is no link.
      await tab.locator('.cell.known').click();
      assert.match(await textOf(detail), /Known failure: a reason[\s\S]*javascript:alert\(1\)/);
      assert.equal(await detail.locator('a').count(), 0);
    }),
);

test(
  'the keyboard reaches every cell: one Tab stop for a table, arrows inside, Enter opens',
  { skip },
  () =>
    withPage({ viewport: { width: 1280, height: 800 } }, async (tab) => {
      const label = () => tab.evaluate<string>(FOCUSED);
      await tab.locator('.cell').first().focus();
      await tab.keyboard.press('ArrowRight');
      await tab.keyboard.press('ArrowDown');
      assert.match(await label(), /^go-v1 dials go-v1/);
      await tab.keyboard.press('Tab');
      assert.match(await label(), /^libp2p-lean-v0\.1 dials libp2p-lean-v0\.1/);
      assert.equal(await tab.locator('.matrix').nth(1).locator(':focus').count(), 1);
      await tab.keyboard.press('Enter');
      assert.equal(await tab.locator('dialog').isVisible(), true);
    }),
);

test(
  'a failed cell leads to its retry: the timeline, the traces; nowhere outside of the folder',
  {
    skip,
  },
  () =>
    withPage({}, async (tab) => {
      await tab.locator('#failures button', { hasText: FAILS }).click();
      await tab.locator('#detail .runs button', { hasText: 'retry' }).click();
      const links = tab.locator('#detail .callout a');
      const targets = (await links.all()).map((link) => link.getAttribute('href'));
      assert.deepEqual(await Promise.all(targets), [TIMELINE, TRACE]);
    }),
);

test('filters: by implementation and by failure; a link restores them and opens a cell', {
  skip,
}, async () => {
  const near = (tab: Page) => tab.locator('.cell:not(.away):visible').count();
  let link = '';
  await withPage({ viewport: { width: 1280, height: 800 } }, async (tab) => {
    await tab.getByRole('button', { name: 'js-v3', exact: true }).click();
    assert.equal(await near(tab), 10);
    assert.equal(await tab.locator('.matrix:visible').count(), 2, 'no js-v3 over tls');
    await tab.getByRole('button', { name: 'only what is not green' }).click();
    assert.equal(await near(tab), 2);
    link = new URL(tab.url()).hash;
    await tab.getByRole('button', { name: 'all', exact: true }).click();
    assert.equal(await near(tab), 3);
  });
  await withPage(
    { viewport: { width: 1280, height: 800 } },
    async (tab) => {
      assert.equal(await near(tab), 2);
      assert.match(await textOf(tab.locator('dialog h2')), /js-v3 → go-v1/);
    },
    `${link}&cell=${encodeURIComponent(PEERS)}`,
  );
});

test('box plots: a row for every implementation that measured, by transport', { skip }, () =>
  withPage({ viewport: { width: 1280, height: 800 } }, async (tab) => {
    const rows = tab.locator('.panel').first().locator('.plot-row:visible');
    assert.deepEqual((await rows.locator('.plot-label').allInnerTexts()).sort(), [
      'go-v1',
      'js-v3',
      'libp2p-lean-v0.1',
    ]);
    const median = () => textOf(rows.first().locator('.plot-value'));
    const before = await median();
    await tab.getByText('tcp', { exact: true }).click();
    assert.notEqual(await median(), before);
    assert.match(
      (await rows.first().locator('svg').getAttribute('aria-label')) ?? '',
      /median .* ms, .* measured/,
    );
  }),
);

test('light and dark: the system is followed, and the switch overrides it', { skip }, async () => {
  const ground = (tab: Page) => tab.evaluate<number>(GROUND);
  for (const colorScheme of ['light', 'dark'] as const) {
    await withPage({ colorScheme }, async (tab) => {
      assert.equal((await ground(tab)) > 128, colorScheme === 'light');
      const theme = tab.locator('#theme');
      await theme.click();
      assert.ok((await ground(tab)) > 128, 'light');
      await theme.click();
      assert.ok((await ground(tab)) < 128, 'dark');
      await theme.click();
      assert.equal((await ground(tab)) > 128, colorScheme === 'light');
    });
  }
});

test('on a phone nothing is wider than the screen, and a cell fills it', { skip }, () =>
  withPage(
    { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true },
    async (tab) => {
      const width = () => tab.evaluate<number>('document.documentElement.scrollWidth');
      assert.equal(await width(), 360);
      await tab.locator('.cell.fail').first().tap();
      const box = await tab.locator('dialog').boundingBox();
      assert.deepEqual([box?.x, box?.width], [0, 360]);
      assert.equal(await width(), 360);
    },
  ),
);

test('without a script the tables and plots are still there', { skip }, () =>
  withPage({ javaScriptEnabled: false, viewport: { width: 1280, height: 800 } }, async (tab) => {
    assert.equal(await tab.locator('.cell').count(), 22);
    assert.ok((await tab.locator('.plot-row:visible').count()) > 0);
  }),
);
