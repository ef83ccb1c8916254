import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { formatPerfReport } from '../../src/harness/perf-report.ts';

const REPORT = `upload:
  iterations: 4
  min: 1.00
  q1: 1.75
  median: 2.50
  q3: 3.25
  max: 4.00
  outliers: []
  samples: [1.00, 2.00, 3.00, 4.00]
  unit: Gbps
download:
  iterations: 5
  min: 2.00
  q1: 2.00
  median: 2.00
  q3: 2.00
  max: 2.00
  outliers: [0.00]
  samples: [0.00, 2.00, 2.00, 2.00, 2.00]
  unit: Gbps
latency:
  iterations: 1
  min: 0.123
  q1: 0.123
  median: 0.123
  q3: 0.123
  max: 0.123
  outliers: []
  samples: [0.123]
  unit: ms
`;
const report = formatPerfReport({
  upload: [4, 3, 2, 1],
  download: [2, 2, 0.0000001, 2, 2],
  latency: [0.1234],
});

describe('the perf report', () => {
  it('is exactly this', () => assert.equal(report, REPORT));

  it('is YAML', () => {
    assert.equal(parse(report).upload.median, 2.5);
    assert.deepEqual(parse(report).download.outliers, [0]);
  });

  it('passes the suite’s grep on what Docker prints, whole', () => {
    // libp2p/unified-testing perf/lib/run-single-test.sh
    const pattern =
      'dialer.*\\| (upload:|download:|latency:|  (iterations|min|q1|median|q3|max|outliers|samples|unit):)';
    const printed = report.replace(/^(?=.)/gm, 'lean_x_lean__dialer  | ');
    const input = `lean_x_lean__dialer  | something else\n${printed}`;
    const { stdout } = spawnSync('sh', ['-c', `grep -E "$1" | sed 's/^.*| //'`, 'sh', pattern], {
      input,
      encoding: 'utf8',
    });
    assert.equal(stdout, report);
  });
});
