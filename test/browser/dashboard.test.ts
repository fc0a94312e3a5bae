import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { writeSample } from '../../lib/sample';
import { starter, startNodeRed, until, type NodeRed } from '../flows/node-red';
import { INSTALLING, modulesOf, palette } from '../flows/palette';
import { put, ROOT, scratch } from '../support';
import { browser } from './chromium';

const example = path.join(ROOT, 'examples/dashboard.json');
const modules = modulesOf(JSON.parse(fs.readFileSync(example, 'utf8')));
const WALL = { width: 1920, height: 1080 };
const TABLET = { width: 1024, height: 768 };
const PORTRAIT = { width: 768, height: 1024 };
/** where the documentation's screenshots go, if they are wanted anew */
const album = process.env.GOODPARTS_SCREENSHOTS;

/** The example with a camera that is faster than a person wants to look at, and a smaller network input. */
function quickFlow(): string {
  const nodes = JSON.parse(fs.readFileSync(example, 'utf8')) as Record<string, string>[];
  for (const node of nodes) {
    if (node.name === 'sample camera') node.repeat = '0.4';
    if (node.type === 'anomaly-model') Object.assign(node, { inputWidth: '128', inputHeight: '128' });
  }
  const place = path.join(scratch(), 'flows.json');
  put(place, JSON.stringify(nodes));
  return place;
}

describe('what examples/dashboard.json keeps', () => {
  it('is bounded: the last 1,000 scores, 24 rejected pictures', async () => {
    const { tally, keepPictures } = await import(pathToFileURL(path.join(ROOT, 'examples/src/dashboard.mjs')).href);
    const home = scratch();
    put(path.join(home, 'v1/detector.json'), JSON.stringify({ images: 1, calibration: { scores: [0.1] } }));
    fs.mkdirSync(path.join(home, 'ng'));
    const counts = { ok: 0, review: 0, ng: 0, missed: 0 };
    const line = { n: 0, counts, recent: [], ng: [], times: [], results: {}, drawing: 0, home, store: home };
    const node = { flow: { get: () => line, set: () => {} }, fs, path };
    for (let i = 0; i < 1100; i++) {
      const result = { score: i, verdict: i % 20 ? 'ok' : 'ng', threshold: 1, timing: { total: 1 } };
      const msg = { payload: { ...result, detector: { name: 'd', version: 'v1' } }, image: Buffer.from([i]) };
      const [drawn] = await tally(msg, node);
      if (drawn) await keepPictures({ ...drawn, overlay: Buffer.from([i]) }, node);
    }
    assert.equal(line.n, 1100);
    assert.equal(line.recent.length, 1000);
    assert.equal(line.ng.length, 24);
    assert.equal(fs.readdirSync(path.join(home, 'ng')).length, 48);
  });
});

describe('examples/dashboard.json in a browser', function () {
  this.timeout(300_000);
  let chromium: Browser;
  let nodeRed: NodeRed;
  let data: string;
  let page: Page;
  const troubles: string[] = [];

  const open = async (options: BrowserContextOptions = {}, which = 'line') => {
    const context = await chromium.newContext({ locale: 'en-US', viewport: WALL, ...options });
    context.setDefaultTimeout(60_000);
    const opened = await context.newPage();
    opened.on('pageerror', error => troubles.push(error.message));
    opened.on('console', message => message.type() === 'error' && troubles.push(message.text()));
    await opened.goto(`${nodeRed.url}/dashboard/${which}`);
    await opened.waitForSelector('.gp-head');
    return opened;
  };
  const text = (selector: string, on = page) => on.locator(selector).first().innerText();
  const line = () => JSON.parse(fs.readFileSync(path.join(nodeRed.userDir, 'goodparts-dashboard/line.json'), 'utf8'));
  const saved = async () => line() as { n: number; counts: Record<'ok' | 'ng', number>; byHand: object | null };
  const dial = (words: string) =>
    page.locator('.gp-engine, .gp-counters, .gp-fit').locator(`dt:text-is("${words}") + dd`);
  const shoot = async (name: string, on: Page) =>
    album && on.screenshot({ path: path.join(album, `dashboard-${name}.jpg`), type: 'jpeg', quality: 60 });

  /** Drags the line of the limit to a share of the plot's width. */
  async function drag(share: number): Promise<void> {
    const plot = (await page.locator('.gp-histogram svg').boundingBox())!;
    const pill = (await page.locator('.gp-handle.ng .gp-pill').boundingBox())!;
    await page.mouse.move(pill.x + pill.width / 2, pill.y + pill.height / 2);
    await page.mouse.down();
    await page.mouse.move(plot.x + plot.width * 0.5, plot.y + 60, { steps: 4 });
    await page.mouse.move(plot.x + plot.width * share, plot.y + 60, { steps: 4 });
    await page.mouse.up();
  }

  before(async function () {
    this.timeout(INSTALLING);
    chromium = await browser(this);
    await palette(modules).catch((error: Error) => {
      console.log(`      skipped: the dashboard cannot be installed here: ${error.message.split('\n')[0]}`);
      this.skip();
    });
    data = path.join(scratch(), 'flange');
    await writeSample(data, { train: 12, test: 6, size: 256 });
    nodeRed = await startNodeRed({ flows: quickFlow(), env: { GOODPARTS_DATA: data }, palette: modules });
    page = await open();
  });
  after(async () => {
    await chromium?.close();
    if (nodeRed) assert.equal(await nodeRed.stop(), 0);
  });

  it('learns the good parts at the button, and shows how that goes on', async () => {
    assert.match(await text('.gp-verdict'), /No good parts learned yet/);
    await page.getByRole('button', { name: 'Learn good parts' }).click();
    await page.waitForSelector('.gp-progress');
    assert.match(await text('.gp-fit'), /\d+ \/ 12/);
    await page.waitForSelector('.gp-word', { timeout: 150_000 });
    assert.equal(await dial('learned').innerText(), '12');
  });

  it('shows each part: picture, overlay, verdict, trend, counters', async () => {
    await page.waitForSelector('.gp-thumb img', { timeout: 30_000 });
    assert.match(await text('.gp-part'), /^FL-\d{5}$/);
    assert.match(await text('.gp-word'), /^(OK|REVIEW|NG)$/);
    const widths = () =>
      page.$$eval('.gp-stage img', images => (images as HTMLImageElement[]).map(image => image.naturalWidth));
    await until(widths, all => all.length === 2 && all.every(width => width === 256), 10);
    const overlay = page.locator('.gp-overlay');
    for (const share of ['0', '100']) {
      await page.locator('.gp-slider input').fill(share);
      assert.equal(await overlay.evaluate(image => getComputedStyle(image).opacity), String(Number(share) / 100));
    }
    await page.locator('.gp-slider input').fill('70');
    await until(
      () => page.locator('.gp-plot circle').count(),
      points => points > 2,
      20
    );
    // a part may come between two of the readings
    await until(
      async () =>
        (await Promise.all(['OK', 'REVIEW', 'NG', 'inspected'].map(word => dial(word).innerText()))).map(Number),
      ([ok, review, ng, all]) => all > 0 && ok + review + ng === all,
      10
    );
  });

  it('says what a dragged limit would have rejected, and judges by it when it is used', async () => {
    const says = () => text('.gp-says strong');
    await until(saved, s => s.n >= 12, 60);
    assert.match(await says(), /^This limit rejects \d+ of the last \d+$/);
    const before = (await saved()).counts;
    await drag(0.02);
    const [, would, of] = (await says()).match(/^This would have rejected (\d+) of the last (\d+)$/)!.map(Number);
    assert.ok(would > before.ng && would >= of - 1, `nearly all are above the lowest limit: ${would} of ${of}`);
    assert.equal((await saved()).byHand ?? null, null, 'trying changes nothing');
    await page.getByRole('button', { name: 'Discard' }).click();
    await drag(0.02);
    await page.getByRole('button', { name: 'Use this limit' }).click();
    const { counts } = await until(saved, s => s.byHand !== null && s.n > of + 8, 60);
    assert.ok(counts.ng >= before.ng + 6, `good parts are rejected as well: ${JSON.stringify({ before, counts })}`);
    assert.match(await text('.gp-histogram footer'), /Set by hand/);
  });

  it('keeps the limit over a restart', async () => {
    const { byHand } = await saved();
    assert.equal(await nodeRed.stop(), 0);
    const { startNodeRed: start } = await starter();
    const place = { userDir: nodeRed.userDir, flows: path.join(nodeRed.userDir, 'flows.json') };
    const port = Number(new URL(nodeRed.url).port);
    const red = require.resolve('node-red/red.js');
    nodeRed = { ...nodeRed, ...(await start({ red, ...place, port, env: { GOODPARTS_DATA: data } })) };
    const { n } = await saved();
    const later = await until(saved, s => s.n > n + 3, 40);
    assert.deepEqual(later.byHand, byHand);
    // a reload: the first page may wait a while before it tries to connect again
    await page.reload();
    await page.waitForSelector('.gp-word');
    assert.match(await text('.gp-histogram footer'), /Set by hand/);
  });

  it('learns a part that was rejected wrongly, from its original picture', async () => {
    // every part is rejected now, so the gallery moves on faster than Playwright's careful click
    await page.locator('.gp-gallery li .gp-button').first().dispatchEvent('click');
    await page.waitForSelector('.gp-gallery li.good');
    assert.equal(await dial('added here').innerText(), '1');
    const good = path.join(nodeRed.userDir, 'goodparts-dashboard/good');
    const [name] = fs.readdirSync(good);
    const kept = fs.readFileSync(path.join(good, name));
    const tests = fs.readdirSync(path.join(data, 'test')).flatMap(sub => {
      const folder = path.join(data, 'test', sub);
      return fs.readdirSync(folder).map(file => fs.readFileSync(path.join(folder, file)));
    });
    assert.ok(
      tests.some(original => original.equals(kept)),
      'byte for byte what the camera sent'
    );
    assert.match(await text('.gp-fit'), /1 added since/);
    await page.getByRole('button', { name: 'Learn again' }).click();
    await page.waitForSelector('.gp-fit h2 small:text("v2")', { timeout: 150_000 });
    assert.equal(await dial('learned').innerText(), '13');
    assert.match(await text('.gp-histogram footer'), /Drag the line/, 'the new version has its own, automatic limit');
  });

  it('compares with what the folder says, on the second page', async () => {
    await page.locator('.gp-head nav a', { hasText: 'Evaluation' }).click();
    await page.waitForSelector('.gp-matrix');
    const seen = async () => (await text('.gp-evaluation h2 small')).match(/^(\d+) of 18/)?.[1];
    await until(seen, n => Number(n) >= 8, 60);
    const cells = await page.$$eval('.gp-matrix tbody td', all => all.map(cell => Number(cell.textContent)));
    assert.ok(Math.abs(cells.reduce((a, b) => a + b) - Number(await seen())) <= 1);
    const auroc = await text('.gp-auroc strong');
    // of the few parts that were seen by now it may be any share
    assert.ok(auroc === '–' || (Number(auroc) >= 0 && Number(auroc) <= 1), auroc);
    await shoot('evaluation', page);
    await page.locator('.gp-head nav a', { hasText: 'Line' }).click();
    await page.waitForSelector('.gp-word');
  });

  it("speaks the browser's language, and the one that is chosen", async () => {
    const german = await open({ locale: 'de-AT', colorScheme: 'dark', viewport: TABLET });
    assert.match(await text('.gp-counters', german), /Ausbeute/);
    await german.selectOption('.gp-language', 'fr');
    assert.match(await text('.gp-counters', german), /Rendement/);
    await german.reload();
    await german.waitForSelector('.gp-yield');
    assert.match(await text('.gp-counters', german), /Rendement/);
    await german.context().close();
  });

  it('fits a wall screen and a tablet, light and dark, in every language', async () => {
    const languages = ['en', 'de', 'ja', 'fr', 'es', 'pt-BR', 'zh-CN'];
    const sizes = { wall: WALL, tablet: TABLET, portrait: PORTRAIT };
    const backgrounds: string[] = [];
    for (const colorScheme of ['light', 'dark'] as const) {
      const shown = await open({ colorScheme });
      await shown.waitForSelector('.gp-word');
      backgrounds.push(
        await shown
          .locator('.gp-card')
          .first()
          .evaluate(card => getComputedStyle(card).backgroundColor)
      );
      for (const [name, size] of Object.entries(sizes)) {
        await shown.setViewportSize(size);
        for (const language of languages) {
          await shown.selectOption('.gp-language', language);
          assert.deepEqual(await shown.evaluate(misfits, name === 'wall'), [], `${name} ${colorScheme} ${language}`);
        }
        await shown.selectOption('.gp-language', 'en');
        await shown.waitForTimeout(album ? 2500 : 0);
        await shoot(`${name}-${colorScheme}`, shown);
      }
      await shown.context().close();
    }
    assert.equal(new Set(backgrounds).size, 2);
  });

  it('bears twenty open clients, and keeps no more than a screen needs', async () => {
    const ids = (JSON.parse(fs.readFileSync(example, 'utf8')) as { id: string; type: string }[])
      .filter(node => node.type === 'ui-template')
      .map(node => node.id);
    const megabytes = async () => Number((await dial('Memory').innerText()).replace(/\D/g, ''));
    const before = await until(megabytes, n => n > 0, 20);
    await page.addScriptTag({ path: path.join(await palette(modules), 'socket.io/client-dist/socket.io.min.js') });
    const received = await page.evaluate(crowd, { ids, clients: 19, seconds: 15 });
    assert.equal(received.length, 19);
    assert.ok(Math.min(...received) >= ids.length + 10, `each was told what happened: ${received}`);
    const after = await until(megabytes, n => n > 0, 20);
    assert.ok(after - before < 100, `${before} MB before, ${after} MB after`);
    for (const id of ids) {
      const stored = await (await fetch(`${nodeRed.url}/dashboard/_debug/datastore/${id}`)).text();
      assert.ok(stored.length < 64 * 1024, `the last message of ${id} has ${stored.length} characters`);
    }
  });

  it('had nothing to complain about', () => {
    // while Node-RED is started again, a page cannot reach it
    const real = troubles.filter(trouble => !/net::ERR|WebSocket|SIO connect|Failed to load resource/.test(trouble));
    assert.deepEqual(real, []);
    assert.deepEqual(
      nodeRed.log.filter(entry => /\[error\]/.test(entry)),
      []
    );
  });
});

interface Client {
  on(event: string, listener: () => void): void;
  onAny(listener: () => void): void;
  emit(event: string, id: string): void;
  close(): void;
}

/** In the browser: more clients, as open pages are to Node-RED. @returns how many messages each got */
async function crowd({
  ids,
  clients,
  seconds
}: {
  ids: string[];
  clients: number;
  seconds: number;
}): Promise<number[]> {
  const { io } = window as unknown as { io: (url: string, options: object) => Client };
  const counts: number[] = new Array(clients).fill(0);
  const sockets = counts.map((_, i) => {
    const socket = io(location.origin, { path: '/dashboard/socket.io', forceNew: true });
    socket.on('connect', () => ids.forEach(id => socket.emit('widget-load', id)));
    socket.onAny(() => {
      counts[i]++;
      void fetch('/goodparts/pictures/overlay/1').then(response => response.blob());
    });
    return socket;
  });
  await new Promise(resolve => setTimeout(resolve, seconds * 1000));
  sockets.forEach(socket => socket.close());
  return counts;
}

/** In the browser: what is wider or taller than its place, by class. */
function misfits(whole: boolean): string[] {
  const root = document.documentElement;
  const wrong = root.scrollWidth > innerWidth ? [`page is ${root.scrollWidth} wide`] : [];
  if (whole && root.scrollHeight > innerHeight) wrong.push(`page is ${root.scrollHeight} high`);
  const boxes = document.querySelectorAll<HTMLElement>('.gp-card, .gp-verdict, .gp-button, .gp-head, .gp-live, h2');
  for (const box of Array.from(boxes)) {
    const { scrollWidth, scrollHeight, clientWidth, clientHeight } = box;
    if (scrollWidth > clientWidth + 1 || scrollHeight > clientHeight + 1)
      wrong.push(`${box.className || box.tagName}: ${scrollWidth}x${scrollHeight} in ${clientWidth}x${clientHeight}`);
  }
  return wrong;
}
