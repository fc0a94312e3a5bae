import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import type { Browser } from 'playwright-core';
import type { FlowNode } from '../flows/editor';
import { getJson, startNodeRed, until, type NodeRed } from '../flows/node-red';
import { modulesOf } from '../flows/palette';
import { part, parts, put, ROOT, scratch } from '../support';
import { browser } from './chromium';
import { Workspace } from './workspace';

/** where the documentation's screenshots go, if they are wanted anew */
const album = process.env.GOODPARTS_SCREENSHOTS;
const folder = path.join(ROOT, 'examples');
const shipped = fs.readdirSync(folder).filter(name => name.endsWith('.json'));
const read = (file: string): FlowNode[] => JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8'));

const [TAB, LEARN, INSPECT, SHOW] = ['d0d0c0ffee000001', 'd0d0c0ffee000002', 'd0d0c0ffee000003', 'd0d0c0ffee000004'];
const GOOD = Array.from({ length: 8 }, (_, i) => `pictures/good/${i}.png`);
const inject = (id: string, name: string, y: number, props: object[], payload: unknown) => ({
  ...{ id, type: 'inject', z: TAB, name, x: 110, y, wires: [[]], repeat: '', once: false },
  ...{ props: [{ p: 'payload' }, ...props], payload: JSON.stringify(payload), payloadType: 'json' }
});
/** What is there before: two buttons with paths of pictures in the user directory, and a debug node. */
const BUTTONS = [
  { id: TAB, type: 'tab', label: 'My line' },
  inject(LEARN, 'learn', 80, [{ p: 'complete', v: 'true', vt: 'bool' }], GOOD),
  inject(INSPECT, 'inspect', 200, [], 'pictures/bad.png'),
  { id: SHOW, type: 'debug', z: TAB, name: 'NG', x: 850, y: 260, wires: [], active: true, complete: 'payload' }
];

describe("the nodes in Node-RED's editor", function () {
  this.timeout(600_000);
  let nodeRed: NodeRed;
  let chromium: Browser;
  let workspace: Workspace;

  const shot = async (name: string) => {
    if (!album) return;
    await workspace.quiet();
    await workspace.page.waitForTimeout(500);
    await workspace.page.screenshot({ path: path.join(album, `${name}.png`) });
  };

  before(async function () {
    chromium = await browser(this);
    const flows = path.join(scratch(), 'flows.json');
    put(flows, JSON.stringify(BUTTONS));
    nodeRed = await startNodeRed({ flows });
    const pictures = await parts(GOOD.length);
    GOOD.forEach((name, i) => put(path.join(nodeRed.userDir, name), pictures[i]));
    put(path.join(nodeRed.userDir, 'pictures/bad.png'), await part({ defect: true }));
    workspace = await Workspace.open(chromium, nodeRed.url);
  });
  after(async () => {
    await chromium?.close();
    if (nodeRed) assert.equal(await nodeRed.stop(), 0);
  });

  it('are dragged from the palette, wired, configured and deployed; then they fit and judge', async () => {
    const { page } = workspace;
    const fit = await workspace.drag('anomaly-fit', [380, 80]);
    const score = await workspace.drag('anomaly-score', [380, 200]);
    const threshold = await workspace.drag('threshold', [560, 200]);
    const heatmap = await workspace.drag('heatmap', [720, 260]);
    await workspace.wire(LEARN, fit);
    await workspace.wire(INSPECT, score);
    await workspace.wire(score, threshold);
    await workspace.wire(threshold, heatmap, 1);
    await workspace.wire(heatmap, SHOW);

    await workspace.configure(fit);
    await page.locator('#node-input-btn-model-add').click();
    await page.locator('#node-config-dialog-ok').waitFor();
    await page.locator('#node-config-input-detector').fill('flange');
    await shot('editor-model');
    await page.locator('a[href="#goodparts-tab-learning"]').click();
    // small enough that a fit takes a second
    for (const side of ['Width', 'Height']) await page.locator(`#node-config-input-input${side}`).fill('64');
    await workspace.done('#node-config-dialog-ok');
    await workspace.done();
    for (const id of [score, threshold]) {
      await workspace.configure(id);
      // the only model that there is
      await page.locator('#node-input-model').selectOption({ label: 'flange' });
      await workspace.done();
    }
    assert.deepEqual(await workspace.incomplete(), []);
    await workspace.deploy();
    const deployed = await getJson<(FlowNode & { detector?: string; model?: string })[]>(`${nodeRed.url}/flows`);
    const model = deployed.find(({ type }) => type === 'anomaly-model')!;
    assert.equal(model.detector, 'flange');
    for (const id of [fit, score, threshold]) assert.equal(deployed.find(node => node.id === id)!.model, model.id);

    await workspace.press(LEARN);
    assert.equal(await workspace.status(fit, /^fitted/, 60), 'fitted v1 (8)');
    await workspace.press(INSPECT);
    await workspace.status(score, /flange v1/);
    await workspace.status(threshold, /^NG/i);
    await page.locator('a[href="#red-ui-tab-debug"], #red-ui-tab-debug-link-button').first().click();
    const said = page.locator('.red-ui-debug-msg', { hasText: 'score' });
    await said.first().waitFor();
    await shot('editor');
    assert.deepEqual(workspace.troubles, []);
  });

  it('explain themselves in the help of the sidebar', async () => {
    for (const type of ['anomaly-fit', 'anomaly-score', 'heatmap', 'threshold', 'anomaly-model']) {
      const help = await workspace.help(type);
      const text = await until(
        () => help.innerText(),
        words => words.length > 600 && new RegExp(type.replace('-', '.')).test(words),
        10
      );
      assert.match(text, type === 'anomaly-model' ? /detector/i : /Inputs[\s\S]*Outputs[\s\S]*Details/i);
    }
    assert.deepEqual(workspace.troubles, []);
  });

  it('come with examples that Menu > Import brings in; Node-RED offers the palettes that one still needs', async () => {
    for (const file of shipped) {
      const said = await workspace.importExample(path.basename(file, '.json'), () => shot('editor-import'));
      const nodes = read(file);
      // libraries of function nodes come at the deploy; palettes are called so
      const palettes = Object.keys(modulesOf(nodes)).filter(name => name.includes('node-red'));
      assert.match(said, palettes.length > 0 ? /Required modules missing.*Install all/s : /^Imported/, file);
      for (const name of palettes) assert.ok(said.includes(name), said);
      // Node-RED keeps one global-config for all flows
      const wanted = nodes.filter(({ type }) => type !== 'global-config').map(({ id }) => id);
      const known = 'RED.nodes.node(id) || RED.nodes.workspace(id) || RED.nodes.group(id)';
      assert.deepEqual(await workspace.evaluate(`${JSON.stringify(wanted)}.filter(id => !(${known}))`), [], file);
    }
    assert.deepEqual(await workspace.incomplete(), []);
    assert.deepEqual(workspace.troubles, []);
  });
});
