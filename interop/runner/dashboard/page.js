// What the page does beyond showing: details of a cell, filters, theme. Runs in the browser as it
// is. Everything from the data goes in as text, never as markup.
(() => {
  const cells = JSON.parse(document.getElementById('cells').textContent);
  const dialog = document.getElementById('detail');

  /** An element with properties and children; strings become text. */
  const el = (name, props = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(props)) {
      if (key === 'class') node.className = value;
      else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const icon = (name) => {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('class', 'icon');
    svg.setAttribute('width', '16');
    svg.setAttribute('height', '16');
    svg.setAttribute('aria-hidden', 'true');
    const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
    use.setAttribute('href', `#${name}`);
    svg.append(use);
    return svg;
  };

  // Logs: gzip in base64, unpacked when the first cell is opened.
  let unpacked;
  const logs = () => {
    unpacked ??= (async () => {
      const packed = document.getElementById('logs').textContent;
      const bytes = Uint8Array.from(atob(packed), (char) => char.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
      return JSON.parse(await new Response(stream).text());
    })();
    return unpacked;
  };

  // ---- Details ---------------------------------------------------------------------------------

  const ms = (value) =>
    value < 1 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
  const quote = (word) =>
    /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  const shell = ({ env, command }) =>
    [
      ...Object.entries(env).map(([key, value]) => `${key}=${quote(value)}`),
      ...command.map(quote),
    ].join(' ');

  const copyButton = (text) =>
    el(
      'button',
      {
        class: 'copy',
        type: 'button',
        onclick: async (event) => {
          const button = event.currentTarget;
          try {
            await navigator.clipboard.writeText(text);
            button.textContent = 'copied';
          } catch {
            button.textContent = 'select and copy';
          }
        },
      },
      'copy',
    );

  const tile = (value, unit, label) =>
    el(
      'div',
      { class: 'tile' },
      el('b', {}, value, unit && el('small', {}, ` ${unit}`)),
      el('span', {}, label),
    );

  const ending = ({ exitCode, signal }) =>
    signal ? `ended by ${signal}` : exitCode === null ? 'not started' : `exit code ${exitCode}`;

  const side = (role, id, record) => {
    const log = el('pre', { tabindex: '0', 'aria-label': `Log of the ${role}` }, 'unpacking …');
    logs().then(
      (all) => {
        log.textContent = all[record.log] ?? `not in this page; see ${record.log}`;
      },
      () => {
        log.textContent = `this browser cannot unpack the logs; see ${record.log}`;
      },
    );
    const command = shell(record);
    return el(
      'section',
      { class: 'side' },
      el('h3', {}, `${role}: ${id}`, el('span', {}, ending(record))),
      record.errorLines.length > 0 ? el('h4', {}, 'First relevant lines') : null,
      record.errorLines.length > 0
        ? el('pre', { class: 'errors' }, record.errorLines.join('\n'))
        : null,
      el('h4', {}, 'Command', copyButton(command)),
      el('pre', {}, command),
      el('h4', {}, `Log: ${record.log}`),
      log,
    );
  };

  const attemptView = (cell, attempt) => {
    const number = (value) => (value === null ? ['–', null] : [ms(value), 'ms']);
    return [
      attempt.failure ? el('p', { class: 'callout' }, attempt.failure.message) : null,
      traces(attempt),
      el(
        'div',
        { class: 'tiles' },
        tile(...number(attempt.handshakePlusOneRttMs), 'handshake + 1 RTT'),
        tile(...number(attempt.pingRttMs), 'ping RTT'),
        ...(attempt.holePunch
          ? [
              tile(attempt.holePunch.connection, null, 'connection'),
              tile(...number(attempt.holePunch.relayedAfterMs), 'relayed after'),
              tile(...number(attempt.holePunch.relayedToDirectMs), 'relayed to direct'),
            ]
          : [tile(...number(attempt.listenerReadyMs), 'listener published after')]),
        tile((attempt.durationMs / 1000).toFixed(1), 's', 'whole test'),
      ),
      attempt.multiaddr
        ? el(
            'p',
            { class: 'quiet address' },
            'Listener at ',
            el('code', {}, attempt.multiaddr),
            ' · TEST_KEY ',
            el('code', {}, attempt.testKey),
          )
        : null,
      el(
        'div',
        { class: 'sides' },
        side('dialer', cell.dialer, attempt.dialer),
        side('listener', cell.listener, attempt.listener),
        attempt.relay ? side('relay', cell.relay, attempt.relay) : null,
      ),
    ].filter((node) => node !== null);
  };

  /** Files beside the page; a path from results.json may lead nowhere else. */
  const file = (path, text) =>
    /^logs\/[\w./-]+$/.test(path) && !path.split('/').includes('..')
      ? el('a', { href: path }, text)
      : el('code', {}, path);

  const traces = ({ trace }) =>
    trace
      ? el(
          'p',
          { class: 'callout' },
          'Run once more with debug logs, qlog and TLS keys: ',
          file(trace.timeline, 'timeline of both sides'),
          ...trace.files.flatMap((path) => [
            ' · ',
            file(path, path.split('/').slice(-2).join('/')),
          ]),
        )
      : null;

  const known = (cell) => {
    if (!cell.known) return null;
    const { reason, evidence } = cell.known;
    // Only a web address may become a link.
    const proof = /^https?:\/\//.test(evidence)
      ? el('a', { href: evidence, rel: 'noreferrer' }, evidence)
      : el('code', {}, evidence);
    return el('p', { class: 'callout known' }, `Known failure: ${reason} `, proof);
  };

  let opener;
  const open = (index) => {
    const cell = cells[index];
    if (!cell) return;
    const worst = Math.max(
      0,
      cell.attempts.findIndex((attempt) => attempt.failure),
    );
    const body = el('div');
    const runs = el('div', { class: 'runs', role: 'group', 'aria-label': 'Runs' });
    const views = [...cell.attempts, ...(cell.retry ? [cell.retry] : [])];
    const show = (place) => {
      body.replaceChildren(...attemptView(cell, views[place]));
      [...runs.children].forEach((button, other) => {
        button.setAttribute('aria-pressed', String(other === place));
      });
    };
    if (views.length > 1) {
      views.forEach((attempt, place) => {
        const name = attempt === cell.retry ? 'retry, traced' : `run ${place + 1}`;
        runs.append(
          el(
            'button',
            { class: 'chip', type: 'button', onclick: () => show(place) },
            `${attempt.failure ? '✗' : '✓'} ${name}`,
          ),
        );
      });
    }
    const again = cell.relay
      ? `node interop/nat.ts --select '${cell.name}' --debug`
      : `libp2p-lean-matrix --test-select '${cell.name}' --debug`;
    dialog.replaceChildren(
      el(
        'div',
        { class: 'detail-head' },
        el(
          'h2',
          { id: 'detail-name' },
          `${cell.dialer} → ${cell.listener}`,
          el(
            'small',
            {},
            [
              [cell.transport, cell.secureChannel, cell.muxer].filter(Boolean).join(' + '),
              cell.relay && `relay ${cell.relay}`,
              cell.nats && `${cell.nats.dialer} to ${cell.nats.listener}`,
            ]
              .filter(Boolean)
              .join(', '),
          ),
        ),
        el('span', { class: `pill ${cell.verdict}` }, icon(cell.verdict), cell.word),
        el(
          'button',
          { class: 'close', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() },
          '✕',
        ),
      ),
      el(
        'div',
        { class: 'detail-body' },
        known(cell),
        runs.children.length > 0 ? runs : null,
        body,
        el(
          'div',
          { class: 'side' },
          el('h4', {}, 'Run this cell again', copyButton(again)),
          el('pre', {}, again),
        ),
      ),
    );
    show(worst);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    remember();
  };
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('close', () => {
    current = undefined;
    remember();
    opener?.focus();
  });

  // ---- Filters ---------------------------------------------------------------------------------

  const chosen = new Set();
  let onlyFailures = false;
  let current;
  const everyChip = [...document.querySelectorAll('[data-filter]')];
  const all = document.querySelector('[data-all]');
  const failuresChip = document.getElementById('only-failures');

  const apply = () => {
    const involved = (dialer, listener) =>
      chosen.size === 0 || chosen.has(dialer) || chosen.has(listener);
    let left = 0;
    for (const figure of document.querySelectorAll('.matrix')) {
      let shown = 0;
      for (const button of figure.querySelectorAll('.cell')) {
        const cell = cells[button.dataset.i];
        const here =
          involved(cell.dialer, cell.listener) && !(onlyFailures && cell.verdict === 'pass');
        button.classList.toggle('away', !here);
        button.disabled = !here;
        if (here) shown++;
      }
      figure.hidden = shown === 0;
      left += shown;
      // One stop for the Tab key in every table; the arrow keys move inside.
      const first = figure.querySelector('.cell:not(.away)');
      for (const button of figure.querySelectorAll('.cell'))
        button.tabIndex = button === first ? 0 : -1;
      for (const th of figure.querySelectorAll('th[data-impl]'))
        th.classList.toggle('lit', chosen.has(th.dataset.impl));
    }
    for (const item of document.querySelectorAll('.failures > li')) {
      item.hidden = !involved(item.dataset.dialer, item.dataset.listener);
    }
    for (const row of document.querySelectorAll('.plot-row')) {
      row.classList.toggle('away', chosen.size > 0 && !chosen.has(row.dataset.impl));
    }
    document.getElementById('nothing').hidden = left > 0;
    for (const chip of everyChip)
      chip.setAttribute('aria-pressed', String(chosen.has(chip.dataset.filter)));
    all.setAttribute('aria-pressed', String(chosen.size === 0));
    failuresChip.setAttribute('aria-pressed', String(onlyFailures));
    remember();
  };

  for (const chip of everyChip) {
    chip.addEventListener('click', () => {
      const id = chip.dataset.filter;
      if (!chosen.delete(id)) chosen.add(id);
      apply();
    });
  }
  all.addEventListener('click', () => {
    chosen.clear();
    apply();
  });
  failuresChip.addEventListener('click', () => {
    onlyFailures = !onlyFailures;
    apply();
  });

  // ---- Opening cells, and moving among them ----------------------------------------------------

  document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-i]');
    if (!button) return;
    opener = button;
    current = Number(button.dataset.i);
    open(current);
  });

  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  document.addEventListener('keydown', (event) => {
    const step = STEPS[event.key];
    const button = event.target.closest?.('.cell');
    if (!step || !button) return;
    event.preventDefault();
    const rows = [...button.closest('tbody').rows];
    let row = rows.indexOf(button.closest('tr'));
    let column = button.closest('td').cellIndex;
    for (;;) {
      row += step[0];
      column += step[1];
      const cell = rows[row]?.cells[column];
      if (!cell) return;
      const next = cell.querySelector('.cell:not(.away)');
      if (!next) continue;
      button.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      next.scrollIntoView({ block: 'nearest', inline: 'nearest' });
      return;
    }
  });

  // ---- The address bar remembers what is shown, so that a link can show it ----------------------

  const remember = () => {
    const state = new URLSearchParams();
    if (chosen.size > 0) state.set('impl', [...chosen].join(','));
    if (onlyFailures) state.set('failures', '1');
    if (current !== undefined) state.set('cell', cells[current].name);
    const hash = state.toString();
    history.replaceState(null, '', hash === '' ? location.pathname + location.search : `#${hash}`);
  };
  const restore = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    const ids = new Set(everyChip.map((chip) => chip.dataset.filter));
    for (const id of (state.get('impl') ?? '').split(',')) if (ids.has(id)) chosen.add(id);
    onlyFailures = state.get('failures') === '1';
    const name = state.get('cell');
    const index = name === null ? -1 : cells.findIndex((cell) => cell.name === name);
    if (chosen.size > 0 || onlyFailures) apply();
    if (index >= 0) {
      current = index;
      opener = document.querySelector(`.cell[data-i="${index}"]`);
      open(index);
    }
  };

  // ---- Theme: the system's, or one that was chosen -----------------------------------------------

  const theme = document.getElementById('theme');
  const THEMES = ['auto', 'light', 'dark'];
  const setTheme = (name) => {
    if (name === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.querySelector('span').textContent = name;
    theme.setAttribute('aria-label', `Theme: ${name}; press to change`);
  };
  const stored = () => {
    try {
      return localStorage.getItem('theme');
    } catch {
      return null; // storage can be forbidden, as for files
    }
  };
  setTheme(THEMES.includes(stored()) ? stored() : 'auto');
  theme.addEventListener('click', () => {
    const now = document.documentElement.dataset.theme ?? 'auto';
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    setTheme(next);
    try {
      localStorage.setItem('theme', next);
    } catch {
      // Then it lasts as long as the page.
    }
  });

  restore();
})();
