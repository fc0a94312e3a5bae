import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { writeSample } from '../../lib/sample';
import { ROOT, scratch } from '../support';
import { TARGETS } from './versions';
import { Socket } from './editor';
import { getJson, starter, startNodeRed, until, type NodeRed } from './node-red';

interface Part {
  part: string;
  truth: string;
  score: number;
  threshold: number;
  verdict: 'ok' | 'review' | 'ng';
  picture: string;
}

interface State {
  detector?: { name: string; version: string; images: number; bankSize: number };
  fit?: object | null;
  error?: string | null;
  paused?: boolean;
  counts: Record<Part['verdict'], number>;
  confusion: Record<'hit' | 'missed' | 'alarm' | 'pass', number>;
  auroc: number;
  gallery: Part[];
  last: Part;
}

const flows = path.join(ROOT, 'examples/flows.json');

/** A browser tab: what the page's socket says, and its buttons. */
class Tab {
  readonly messages: Partial<State>[] = [];
  private readonly socket: WebSocket;

  constructor(url: string) {
    this.socket = new Socket(`${url.replace('http', 'ws')}/goodparts/live`);
    this.socket.addEventListener('message', event => this.messages.push(JSON.parse(String(event.data))));
  }

  async opened(): Promise<this> {
    await new Promise((resolve, reject) => {
      this.socket.addEventListener('open', resolve);
      this.socket.addEventListener('error', reject);
    });
    return this;
  }

  press(button: 'hello' | 'pause' | 'fit'): void {
    this.socket.send(button);
  }

  close(): void {
    this.socket.close();
  }
}

describe('npm start', () => {
  it('renews its flow, but never one that was edited, unless told to, and then sets it aside', async () => {
    const { placeFlows } = await starter();
    const folder = scratch();
    const shipped = path.join(folder, 'shipped.json');
    const there = path.join(folder, 'flows.json');
    const read = (file: string) => fs.readFileSync(file, 'utf8');
    fs.writeFileSync(shipped, '[1]');
    assert.deepEqual(placeFlows(shipped, folder), { flows: there, kept: false });
    fs.writeFileSync(shipped, '[2]');
    assert.equal(placeFlows(shipped, folder).kept, false);
    assert.equal(read(there), '[2]');
    fs.writeFileSync(there, '["mine"]');
    assert.equal(placeFlows(shipped, folder).kept, true);
    assert.equal(read(there), '["mine"]');
    assert.equal(placeFlows(shipped, folder, true).kept, false);
    assert.equal(read(there), '[2]');
    assert.equal(read(path.join(folder, 'flows.edited.json')), '["mine"]');
  });
});

describe('examples/flows.json', () => {
  it('holds what examples/src says', () => {
    const { status, stderr } = spawnSync(process.execPath, [path.join(ROOT, 'scripts/build-examples.mjs'), '--check']);
    assert.equal(status, 0, String(stderr));
  });

  it('needs only core nodes besides ours, and its ids are random', () => {
    const nodes = JSON.parse(fs.readFileSync(flows, 'utf8')) as { id: string; type: string }[];
    assert.equal(new Set(nodes.map(n => n.id)).size, nodes.length);
    assert.ok(nodes.every(n => /^[0-9a-f]{16}$/.test(n.id)));
    const { 'node-red': ours } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
    const types = new Set(nodes.map(n => n.type));
    for (const type of Object.keys(ours.nodes)) assert.ok(types.has(type), `${type} is in no example`);
  });

  for (const target of TARGETS)
    describe(`in ${target.title}`, function () {
      this.timeout(300_000);
      const data = path.join(scratch(), 'flange');
      let nodeRed: NodeRed;
      const state = () => getJson<State>(`${nodeRed.url}/goodparts/state`);

      before(async function () {
        const files = await target.files().catch((error: Error) => error);
        if (files instanceof Error) {
          console.log(`      skipped: ${target.title} cannot be installed here: ${files.message.split('\n')[0]}`);
          return this.skip();
        }
        await writeSample(data, { train: 12, test: 6, size: 256 });
        nodeRed = await startNodeRed({ ...files, flows, env: { GOODPARTS_DATA: data } });
      });
      after(async () => {
        if (nodeRed) assert.equal(await nodeRed.stop(), 0);
      });

      it('fits a detector and gives both verdicts', async () => {
        const { detector } = await until(state, s => Boolean(s.detector), 60);
        assert.equal(detector!.images, 12);
        assert.ok(detector!.bankSize > 0);
        const seen = await until(state, s => s.counts?.ok > 0 && s.counts.ng > 0, 45);
        assert.equal(seen.error, null);
        assert.ok(seen.confusion.hit > 0, 'a defective part was called NG');
        const { last, gallery } = seen;
        assert.match(last.picture, /^data:image\/jpeg;base64,/);
        assert.equal(last.verdict === 'ng', last.score > last.threshold);
        assert.ok(gallery.length > 0 && gallery.every(part => part.verdict === 'ng'));
        assert.deepEqual(
          nodeRed.log.filter(line => /\[error\]/.test(line)),
          []
        );
      });

      it('serves the page, with nothing from outside in it', async () => {
        const response = await fetch(`${nodeRed.url}/goodparts`);
        assert.match(response.headers.get('content-type') ?? '', /text\/html/);
        const page = await response.text();
        assert.match(page, /<title>Goodparts<\/title>/);
        assert.deepEqual(page.match(/(?:src|href)="(?!data:)[^"$]*"/g), null);
      });

      it('has its nodes, texts and icons in the palette', async () => {
        const get = async (what: string) =>
          (await fetch(nodeRed.url + what, { headers: { Accept: 'application/json' } })).text();
        const sets = JSON.parse(await get('/nodes')) as { module: string; types: string[]; err?: string }[];
        const ours = sets.filter(set => set.module === '@goodparts/node-red-anomaly');
        assert.deepEqual(ours.flatMap(set => set.types).sort(), [
          'anomaly-fit',
          'anomaly-model',
          'anomaly-score',
          'heatmap',
          'threshold'
        ]);
        assert.deepEqual(
          ours.flatMap(set => set.err ?? []),
          []
        );
        const icons = JSON.parse(await get('/icons')) as Record<string, string[]>;
        assert.ok(icons['@goodparts/node-red-anomaly'].includes('heatmap.svg'));
        const texts = JSON.parse(await get('/nodes/messages?lng=en-US')) as Record<string, object>;
        assert.ok(Object.keys(texts['@goodparts/node-red-anomaly/heatmap'] ?? {}).length > 0);
      });

      it('tells one who comes late everything, and holds and goes on at the button', async () => {
        const tab = await new Tab(nodeRed.url).opened();
        tab.press('hello');
        await until(
          async () => tab.messages,
          m => m.some(message => message.gallery),
          10
        );
        tab.press('pause');
        const total = ({ counts: { ok, review, ng } }: State) => ok + review + ng;
        await until(state, s => s.paused === true, 10);
        const held = total(await state());
        await new Promise(resolve => setTimeout(resolve, 3000));
        assert.ok(total(await state()) <= held + 1, 'at most the part under way still came');
        tab.press('pause');
        await until(state, s => total(s) > held + 1, 30);
        tab.press('fit');
        const again = await until(state, s => s.detector?.version === 'v2' && !s.fit, 60);
        assert.equal(again.error, null);
        tab.close();
      });

      it('shows why a fit failed until the next fit, while parts go on with the version before', async () => {
        const good = path.join(data, 'train', 'good');
        for (const name of fs.readdirSync(good)) fs.writeFileSync(path.join(good, name), 'no picture');
        const tab = await new Tab(nodeRed.url).opened();
        tab.press('fit');
        const { counts } = await until(state, s => Boolean(s.error), 30);
        const seen = await until(state, s => s.counts.ok + s.counts.ng > counts.ok + counts.ng + 2, 30);
        assert.match(seen.error ?? '', /not an image/);
        assert.equal(seen.detector?.version, 'v2');
        tab.close();
      });
    });
});
