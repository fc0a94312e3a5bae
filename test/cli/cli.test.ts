import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import type { DetectorInfo, FitResult } from '../../lib/engine';
import type { Evaluation } from '../../lib/evaluate';
import { part, put, ROOT, scratch } from '../support';
import { refused, run, SMALL, start, writeClass } from './run';

describe('goodparts on the command line', () => {
  const cwd = scratch();
  const at = (...names: string[]) => path.join(cwd, ...names);
  before(() => writeClass(at('disc')));

  describe('usage', () => {
    it('shows help and version on stdout', async () => {
      for (const args of [['--help'], ['help'], ['-h']]) {
        const { code, stdout, stderr } = await run(cwd, ...args);
        assert.deepEqual([code, stderr], [0, '']);
        for (const command of ['fit', 'score', 'evaluate', 'doctor', 'sample', 'list', 'delete', 'activate', 'models'])
          assert.match(stdout, new RegExp(`^  ${command} +\\w`, 'm'));
      }
      const { stdout: version } = await run(cwd, '--version');
      assert.equal(version, `${JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')).version}\n`);
    });

    for (const command of ['fit', 'score', 'evaluate', 'doctor', 'sample', 'list', 'delete', 'activate', 'models'])
      it(`shows help of ${command}`, async () => {
        const { code, stdout, stderr } = await run(cwd, command, '--help');
        assert.deepEqual([code, stderr], [0, '']);
        assert.match(stdout, new RegExp(`^usage: goodparts ${command} .*\\n\\n[^\\n]+\\n\\noptions:\\n  --`));
      });

    it('exits with 2 for a wrong command line', async () => {
      const wrong: [string[], RegExp][] = [
        [[], /give a command/],
        [['constructor'], /no command "constructor"/],
        [['fit'], /missing arguments; expected: <detector> <folder>/],
        [['fit', 'a', 'b', 'c'], /too many arguments/],
        [['list', 'x'], /too many arguments; expected: none/],
        [['fit', 'a', 'disc', '--colour', 'red'], /'--colour'/],
        [['fit', 'a', 'disc', '--size'], /'--size/],
        [['fit', 'a', 'disc', '--size', '3by4'], /--size takes WIDTHxHEIGHT/],
        [['fit', 'a', 'disc', '--seed', 'x'], /--seed takes a number, not "x"/],
        [['fit', 'a', 'disc', '--preset', 'best'], /--preset is one of anomalib, pci, anomaly-dino, not "best"/],
        [['fit', 'a', 'disc', '--device', 'abacus'], /--device is one of auto, cpu/],
        [['fit', 'a', 'disc', '--coreset', '2'], /coresetRatio must be/],
        [['fit', '../a', 'disc'], /"\.\.\/a"/],
        [['score', 'a', 'x.png', '--threshold', 'high'], /--threshold takes a score/],
        [['score', 'a', 'x.png', '--threshold', '101%'], /from 0% to 100%/],
        [['fit', 'a', 'disc', '--seed', '-1'], /seed must be a whole number from 0 to 4294967295; it is -1/],
        [['sample', 'new', '--seed', '-1'], /seed must be a whole number from 0 to \d+, not -1/],
        [['score', 'a', ''], /an argument is empty; expected: <detector> <files\.\.\.>/],
        [['evaluate', 'disc', '--json', ''], /--json takes a file/],
        [['sample', 'new', '--size', '3'], /size must be/],
        [['models'], /missing arguments; expected: <list\|pull\|import\|remove>/],
        [['models', 'fetch'], /models takes list, pull, import or remove, not "fetch"/],
        [['models', 'pull'], /takes an id/],
        [['models', 'remove', '../disc'], /"\.\.\/disc" is no name of a backbone/]
      ];
      for (const [args, says] of wrong) refused(await run(cwd, ...args), 2, says);
    });

    it('exits with 1 for what is not there', async () => {
      refused(await run(cwd, 'fit', 'a', 'nowhere'), 1, /nowhere does not exist/);
      refused(await run(cwd, 'fit', 'a', 'tmp'), 1, /tmp holds no picture/);
      refused(await run(cwd, 'fit', 'a', 'disc', '--backbone', 'none.onnx'), 1, /none\.onnx cannot be read/);
      put(at('README.md'), '# no network');
      refused(await run(cwd, 'fit', 'a', 'disc', '--backbone', 'README.md'), 1, /README\.md: This file is not an ONNX/);
      refused(await run(cwd, 'fit', 'a', 'disc', '--store', 'README.md'), 1, /cannot be saved in .*README\.md/);
      refused(await run(cwd, 'list', '--store', 'README.md'), 1, /README\.md is not a folder/);
      refused(await run(cwd, 'score', 'a', 'disc/test', 'tmp'), 1, /There is no picture in disc\/test, tmp\./);
      refused(await run(cwd, 'evaluate', 'disc/test'), 1, /is not a class folder in MVTec's layout/);
      refused(await run(cwd, 'score', 'nobody', 'disc/test/good/0.png'), 1, /nobody/);
      refused(await run(cwd, 'delete', 'nobody'), 1, /nobody/);
      refused(await run(cwd, 'activate', 'nobody', 'v1'), 1, /nobody/);
    });
  });

  describe('a detector', () => {
    const store = ['--store', 'store'];
    const list = async () => JSON.parse((await run(cwd, 'list', '--json', ...store)).stdout) as DetectorInfo[];

    it('is fitted from a class folder, quietly', async () => {
      const { code, stdout, stderr } = await run(cwd, 'fit', 'disc', 'disc', ...SMALL, ...store, '--json');
      assert.deepEqual([code, stderr], [0, '']);
      const result = JSON.parse(stdout) as FitResult;
      assert.equal(stdout, `${JSON.stringify(result)}\n`);
      assert.deepEqual([result.name, result.images, result.patches, result.bankSize], ['disc', 6, 6 * 64, 38]);
    });

    it('is fitted from a folder of pictures; a bad one is named and left out', async () => {
      for (let i = 0; i < 3; i++) put(at('mixed', `${i}.png`), await part({ seed: i }));
      put(at('mixed/bad.png'), 'no picture');
      const { code, stdout, stderr } = await run(cwd, 'fit', 'disc', 'mixed', ...SMALL, ...store, '--bank', '10');
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^disc \S+: 3 good pictures, 1 left out, 10 of 192 patches kept, [\d.]+ s on cpu\n$/);
      assert.match(stderr, /^goodparts: left out: mixed\/bad\.png: [^\n]+\n$/);
    });

    it('is listed', async () => {
      const detectors = await list();
      assert.deepEqual(
        detectors.map(d => [d.name, d.current, d.images]),
        [
          ['disc', true, 3],
          ['disc', false, 6]
        ]
      );
      const { stdout } = await run(cwd, 'list', ...store);
      assert.match(stdout, /^detector +version +current .*\ndisc .* embedded +anomalib +64x64\ndisc .*\n$/);
      const empty = await run(cwd, 'list', '--store', 'none');
      assert.deepEqual([empty.code, empty.stdout], [0, '']);
      assert.match(empty.stderr, /no detector in none/);
      assert.equal((await run(cwd, 'list', '--store', 'none', '--json')).stdout, '[]\n');
    });

    it('has its versions switched and removed', async () => {
      const [newer, older] = await list();
      assert.equal((await run(cwd, 'activate', 'disc', older.version, ...store)).code, 0);
      assert.equal((await list()).find(d => d.current)?.version, older.version);
      assert.equal((await run(cwd, 'delete', 'disc', newer.version, ...store)).code, 0);
      assert.deepEqual(
        (await list()).map(d => d.version),
        [older.version]
      );
    });

    it('scores files and folders', async () => {
      const { code, stdout, stderr } = await run(
        cwd,
        'score',
        'disc',
        'disc/test/good',
        'disc/test/hole/0.jpg',
        ...store
      );
      assert.deepEqual([code, stderr], [0, '']);
      const lines = stdout.trimEnd().split('\n');
      assert.equal(lines.length, 4);
      assert.match(lines[0], /^(OK|NG) {2}\d+\.\d{4} {2}disc\/test\/good\/0\.png$/);
      assert.match(lines[3], /^NG {2}\d+\.\d{4} {2}disc\/test\/hole\/0\.jpg$/);
    });

    it('scores as JSON, one object a line', async () => {
      const files = ['disc/test/good/0.png', 'disc/test/hole/0.jpg'];
      const { code, stdout } = await run(cwd, 'score', 'disc', ...files, '--json', '--threshold', '1e3', ...store);
      assert.equal(code, 0);
      const lines = stdout
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line));
      assert.deepEqual(
        lines.map(line => [line.file, line.threshold, line.verdict, line.isAnomaly]),
        files.map(file => [file, 1000, 'ok', false])
      );
      assert.ok(lines[1].score > lines[0].score);
      assert.deepEqual(lines[1].image, { width: 96, height: 96 });
      assert.deepEqual(Object.keys(lines[1].regions[0]), ['x', 'y', 'width', 'height', 'score', 'area']);
      assert.ok(!('map' in lines[1]));
    });

    it('fails on NG when asked to, by every kind of threshold', async () => {
      const hole = ['score', 'disc', 'disc/test/hole/0.jpg', '--fail-on-ng', ...store];
      for (const rule of ['99%', '3sigma', '0']) assert.equal((await run(cwd, ...hole, '--threshold', rule)).code, 1);
      assert.equal((await run(cwd, ...hole, '--threshold', '1e3')).code, 0);
    });

    it('scores the others when one file is bad, and exits with 1', async () => {
      const files = ['mixed/bad.png', 'none.png', 'disc/test/good/0.png'];
      const { code, stdout, stderr } = await run(cwd, 'score', 'disc', ...files, ...store);
      assert.equal(code, 1);
      assert.match(stdout, /^(OK|NG) .*good\/0\.png\n$/);
      assert.match(stderr, /^goodparts: mixed\/bad\.png: [^\n]+\ngoodparts: none\.png cannot be read \(ENOENT\)\.\n$/);
      const json = (await run(cwd, 'score', 'disc', ...files, '--json', ...store)).stdout.trimEnd().split('\n');
      assert.deepEqual(
        json.map(line => JSON.parse(line).error?.code),
        ['image-format', 'path-missing', undefined]
      );
    });
  });

  describe('evaluate', () => {
    const KEYS: (keyof Evaluation)[] = [
      'image_auroc',
      'image_ap',
      'image_f1max',
      'pixel_auroc',
      'aupro',
      'train_images',
      'test_images',
      'bank_size',
      'fit_seconds',
      'score_ms_p50',
      'score_ms_p95',
      'peak_rss_mb',
      'backbone',
      'preset',
      'seed',
      'method',
      'epochs'
    ];

    it('prints exactly one JSON object, notes go to stderr, and keeps nothing', async () => {
      const { outcome, temporary } = start(cwd, 'evaluate', 'disc', ...SMALL, '--seed', '3', '--json', '-');
      const { code, stdout, stderr } = await outcome;
      assert.equal(code, 0, stderr);
      const result = JSON.parse(stdout) as Evaluation;
      assert.equal(stdout, `${JSON.stringify(result)}\n`);
      assert.deepEqual(Object.keys(result), KEYS);
      assert.deepEqual([result.image_auroc, result.image_ap, result.image_f1max], [1, 1, 1]);
      assert.ok(result.pixel_auroc! > 0.9 && result.pixel_auroc! <= 1, `${result.pixel_auroc}`);
      assert.ok(result.aupro! > 0.5 && result.aupro! <= 1, `${result.aupro}`);
      assert.deepEqual([result.train_images, result.test_images, result.bank_size], [6, 7, 38]);
      assert.deepEqual([result.backbone, result.preset, result.seed], ['embedded', 'anomalib', 3]);
      assert.ok(result.score_ms_p50 > 0 && result.score_ms_p95 >= result.score_ms_p50 && result.fit_seconds > 0);
      assert.ok(result.peak_rss_mb > 50);
      assert.match(stderr, /1 of 4 defective test images have no mask: the pixel metrics leave them out\./);
      assert.match(stderr, /0_mask\.png is 48 x 48 pixels, its picture 96 x 96: the mask was scaled\./);
      assert.deepEqual(fs.readdirSync(temporary), []);
      for (const trace of ['goodparts', 'home']) assert.ok(!fs.existsSync(at(trace)), `made ${trace}`);
    });

    it('prints a table, and writes the figures to a file', async () => {
      const { code, stdout, stderr } = await run(
        cwd,
        'evaluate',
        'disc',
        '--preset',
        'pci',
        '--size',
        '64',
        '--json',
        'out.json'
      );
      assert.equal(code, 0, stderr);
      assert.match(stderr, /The crop leaves out the edges/);
      for (const line of [
        /^disc: 6 good pictures learnt, 7 tested; .* preset pci/,
        /^image AUROC +[\d.]+$/m,
        /^hole +3 +1\.0000$/m
      ])
        assert.match(stdout, line);
      assert.deepEqual(Object.keys(JSON.parse(fs.readFileSync(at('out.json'), 'utf8'))), KEYS);
    });

    it('has null for what is not defined', async () => {
      fs.cpSync(at('disc'), at('maskless'), { recursive: true });
      fs.rmSync(at('maskless/ground_truth'), { recursive: true });
      const maskless = await run(cwd, 'evaluate', 'maskless', ...SMALL, '--json', '-');
      const { image_auroc, pixel_auroc, aupro } = JSON.parse(maskless.stdout) as Evaluation;
      assert.deepEqual([image_auroc, pixel_auroc, aupro], [1, null, null]);
      fs.rmSync(at('maskless/test/good'), { recursive: true });
      const { stdout } = await run(cwd, 'evaluate', 'maskless', ...SMALL);
      assert.match(stdout, /^image AUROC +-$/m);
    });

    it('names the picture that cannot be read', async () => {
      fs.cpSync(at('disc'), at('torn'), { recursive: true });
      put(at('torn/test/hole/1.jpg'), (await part({ format: 'jpeg' })).subarray(0, 200));
      const outcome = await run(cwd, 'evaluate', 'torn', ...SMALL, '--json', '-');
      assert.deepEqual([outcome.code, outcome.stdout], [1, '']);
      assert.match(outcome.stderr, /torn\/test\/hole\/1\.jpg: /);
    });

    it('says before the fit that the figures cannot be written', async () => {
      const missing = start(cwd, 'evaluate', 'disc', ...SMALL, '--json', 'nowhere/out.json');
      refused(await missing.outcome, 1, /nowhere\/out\.json cannot be written \(ENOENT\)/);
      refused(
        await run(cwd, 'evaluate', 'disc', ...SMALL, '--json', 'disc'),
        1,
        /disc cannot be written: it is a folder/
      );
      refused(
        await run(cwd, 'evaluate', 'nowhere', '--json', 'disc/train/good/0.png/x'),
        1,
        /x cannot be written \(ENOTDIR\)/
      );
      const full = await run(cwd, 'evaluate', 'disc', ...SMALL, '--json', '/dev/full');
      if (!fs.existsSync('/dev/full')) return;
      assert.equal(full.code, 1);
      assert.match(full.stdout, /^image AUROC +1\.0000$/m);
      assert.match(full.stderr, /goodparts: \/dev\/full cannot be written \(ENOSPC\)\.\n$/);
    });

    it('takes no layers for found by themselves', async () => {
      const { code, stdout } = await run(cwd, 'evaluate', 'disc', ...SMALL, '--layers', '', '--json', '-');
      assert.equal(code, 0);
      assert.equal((JSON.parse(stdout) as Evaluation).bank_size, 38);
    });

    it('tidies up when it is interrupted', async function () {
      if (process.platform === 'win32') this.skip(); // no signals there
      await writeClass(at('long'), 60);
      const { child, outcome, temporary } = start(at('long'), 'evaluate', '.', '--device', 'cpu');
      while (fs.readdirSync(temporary).length === 0 && child.exitCode === null)
        await new Promise(resolve => setTimeout(resolve, 5));
      child.kill('SIGINT');
      const { code, stdout } = await outcome;
      assert.deepEqual([code, stdout], [130, '']);
      assert.deepEqual(fs.readdirSync(temporary), []);
    });
  });

  it('ends five seconds after a signal even when its task does not', async function () {
    if (process.platform === 'win32') this.skip(); // no signals there
    this.timeout(15000);
    const endless = `require(${JSON.stringify(path.join(ROOT, 'dist/cli/run.js'))}).interruptible(
      () => new Promise(() => { setInterval(() => {}, 1000); console.log('runs'); }))`;
    const child = spawn(process.execPath, ['-e', endless], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise<number | null>(resolve => child.once('exit', resolve));
    await new Promise(resolve => child.stdout.once('data', resolve));
    const asked = performance.now();
    child.kill('SIGTERM');
    const rescue = setTimeout(() => child.kill('SIGKILL'), 10000);
    assert.equal(await ended, 130);
    clearTimeout(rescue);
    const seconds = (performance.now() - asked) / 1000;
    assert.ok(seconds > 4.5, `it had only ${seconds} s to tidy up`);
  });

  it('doctor reports and exits with 0 when all is well', async () => {
    const { code, stdout, stderr } = await run(cwd, 'doctor', '--device', 'cpu', '--store', 'store');
    assert.deepEqual([code, stderr], [0, ''], stdout);
    assert.match(stdout, /^device {2}cpu\n(ok {6}[^\n]+\n){3,}$/);
    const { device, checks } = JSON.parse(
      (await run(cwd, 'doctor', '--device', 'cpu', '--json', '--store', 'store')).stdout
    );
    assert.equal(device.used, 'cpu');
    assert.ok(checks.every((check: { ok: boolean }) => check.ok));
  });

  it('doctor exits with 1 when a check fails', async () => {
    put(at('file'), '');
    const { code, stdout } = await run(cwd, 'doctor', '--device', 'cpu', '--store', 'file');
    assert.equal(code, 1);
    assert.match(stdout, /^FAILED {2}Detector store: /m);
  });

  it('sample writes a class that evaluate reads', async () => {
    const { code, stdout } = await run(
      cwd,
      'sample',
      'made',
      '--train',
      '3',
      '--test',
      '3',
      '--size',
      '64',
      '--seed',
      '1'
    );
    assert.equal(code, 0);
    assert.match(stdout, /^made: 3 good pictures to learn from; 3 good and \d+ defective ones to test\n$/);
    const result = await run(cwd, 'evaluate', 'made', ...SMALL, '--json', '-');
    assert.equal(result.stderr, '');
    assert.ok((JSON.parse(result.stdout) as Evaluation).aupro! > 0);
  });

  it('ends quietly when its reader has gone', async () => {
    const { child, outcome } = start(cwd, '--help');
    child.stdout.destroy();
    const { code, stderr } = await outcome;
    assert.deepEqual([code, stderr], [0, '']);
  });
});
