import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import type { DetectorInfo, ScoreResult } from '../../lib/engine';
import { LogFile } from '../../lib/red/log-file';
import { countScore, registry, relativeScore } from '../../lib/red/metrics/counts';
import { bounded } from '../../lib/red/metrics/labels';
import { scratch } from '../support';

const calibration = (scores: number[]): DetectorInfo['calibration'] => ({
  method: 'leave-one-out',
  scores,
  mapMaxima: scores,
  mapMedian: 0
});

describe('metrics', () => {
  it('puts scores of all detectors on one scale: 0 the median of the good parts, 1 their 99th percentile', () => {
    const good = Array.from({ length: 101 }, (_, i) => 10 + i / 100);
    for (const scale of [1, 40]) {
      const scores = good.map(score => score * scale);
      assert.equal(relativeScore(10.5 * scale, calibration(scores)), 0);
      assert.ok(Math.abs(relativeScore(10.99 * scale, calibration(scores))! - 1) < 1e-9);
      assert.ok(relativeScore(10 * scale, calibration(scores))! < -1);
    }
    assert.equal(relativeScore(6, calibration([4])), 0.5, 'a single good score has no spread');
    assert.equal(relativeScore(6, calibration([])), undefined);
  });

  it('counts each score in its bucket, the far ones too', async () => {
    const info = { created: new Date(0).toISOString(), calibration: calibration([1, 2, 3, 4, 5]) } as DetectorInfo;
    const timing = { decode: 1, preprocess: 1, backbone: 1, search: 1, map: 1, total: 5 };
    for (const score of [-100, 3, 4, 5, 100]) {
      const detector = { name: 'buckets', version: 'v1' };
      countScore({ score, detector, timing } as ScoreResult, 0, info);
    }
    const text = await registry.metrics();
    const at = (le: string) =>
      Number(
        new RegExp(`anomaly_score_relative_bucket{le="${le.replace(/[+.]/g, '\\$&')}",recipe="buckets"} (\\d+)`).exec(
          text
        )?.[1]
      );
    assert.deepEqual(
      ['-2', '-0.25', '0', '0.5', '0.75', '1', '1.1', '20', '+Inf'].map(at),
      [1, 1, 2, 2, 3, 3, 4, 4, 5]
    );
  });

  it('gives a label to so many values and no more', () => {
    const label = bounded(2);
    assert.deepEqual(['a', 'b', 'c', 'a', 'd'].map(label), ['a', 'b', 'other', 'a', 'other']);
    assert.equal(bounded()('x'.repeat(500)).length, 100);
  });
});

describe('log file', () => {
  const line = `${'x'.repeat(99)}\n`;
  const sizes = (file: string) => {
    const names = fs.readdirSync(path.dirname(file)).sort();
    return Object.fromEntries(names.map(name => [name, fs.statSync(path.join(path.dirname(file), name)).size]));
  };

  it('is set aside at its bound, five times, and then forgotten', async () => {
    const file = path.join(scratch(), 'parts.log');
    const log = LogFile.open(file, text => assert.fail(text), 1000);
    for (let i = 0; i < 81; i++) {
      log.write(line);
      await log.written();
    }
    await log.close();
    const all = sizes(file);
    assert.deepEqual(Object.keys(all), ['parts.log', ...[1, 2, 3, 4, 5].map(i => `parts.log.${i}`)]);
    for (const name of Object.keys(all).slice(1)) assert.equal(all[name], 1100);
    assert.equal(all['parts.log'], 400);
  });

  it('is written on after a restart, by all models that name it, to the last line', async () => {
    const file = path.join(scratch(), 'deep/er/parts.log');
    for (let restart = 0; restart < 2; restart++) {
      const [one, two] = [0, 1].map(() => LogFile.open(file, text => assert.fail(text)));
      assert.equal(one, two);
      for (let i = 0; i < 50; i++) one.write('one\n');
      await one.close();
      for (let i = 0; i < 50; i++) two.write('two\n');
      await two.close();
    }
    const lines = fs.readFileSync(file, 'utf8').trim().split('\n');
    assert.equal(lines.length, 200);
  });

  it('says once that it cannot be written, and stops nothing', async () => {
    const file = path.join(scratch(), 'parts.log');
    fs.mkdirSync(file);
    const said: string[] = [];
    const log = LogFile.open(file, text => said.push(text));
    for (let i = 0; i < 5; i++) log.write(line);
    await log.close();
    assert.equal(said.length, 1);
    assert.match(said[0], /parts\.log, is not complete/);
  });
});
