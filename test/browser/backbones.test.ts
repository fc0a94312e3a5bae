import assert from 'node:assert/strict';
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { getJson, startNodeRed, until, type NodeRed } from '../flows/node-red';
import { put, scratch } from '../support';
import { browser } from './chromium';
import { Workspace } from './workspace';

const MODEL = 'a0b1c2d3e4f50617';
const SCORE = 'b0b1c2d3e4f50617';
/** What may not be empty: with it the editor deploys without a question. */
const GIVEN = { seed: 0, keepVersions: 5, maxMegabytes: 64, maxMegapixels: 100, maxSide: 20000, timeout: 60 };
/** A model of before there was a second backbone. */
const FLOW = [
  { id: 'c0b1c2d3e4f50617', type: 'tab', label: 'backbones' },
  {
    id: MODEL,
    type: 'anomaly-model',
    name: 'ring',
    detector: 'ring',
    preset: 'anomalib',
    backbone: 'embedded',
    ...GIVEN
  },
  { id: SCORE, type: 'anomaly-score', z: 'c0b1c2d3e4f50617', x: 200, y: 80, model: MODEL, wires: [[], []] }
];

interface Deployed {
  id: string;
  backbone: string;
  secondBackbone: string;
  secondWeight: string;
}

describe('backbones in the editor', function () {
  this.timeout(180_000);
  let nodeRed: NodeRed | undefined;
  let chromium: Browser | undefined;
  let page: Page;
  let workspace: Workspace;

  before(async function () {
    chromium = await browser(this);
    const flows = path.join(scratch(), 'flows.json');
    put(flows, JSON.stringify(FLOW));
    nodeRed = await startNodeRed({ flows });
    workspace = await Workspace.open(chromium, nodeRed.url);
    ({ page } = workspace);
    await page.evaluate(`RED.editor.editConfig('', 'anomaly-model', '${MODEL}')`);
    await page.locator('#node-config-dialog-ok').waitFor();
    // the list of the catalogue has come
    await page.locator('#goodparts-secondBackbone optgroup').first().waitFor({ state: 'attached' });
  });
  after(async () => {
    await chromium?.close();
    await nodeRed?.stop();
  });

  const choice = (name: string) => page.locator(`#goodparts-${name}`);
  const field = (name: string) => page.locator(`#node-config-input-${name}`);
  const visible = (id: string) => page.locator(`#goodparts-secondBackbone-${id}`).isVisible();

  it('a second one is none, until it is chosen from the same list or named by its path', async () => {
    assert.deepEqual(
      [await choice('backbone').inputValue(), await choice('secondBackbone').inputValue()],
      ['embedded', '']
    );
    assert.deepEqual([await visible('path'), await visible('weight'), await visible('facts')], [false, false, false]);
    await choice('secondBackbone').selectOption('resnet18.tv1');
    assert.equal(await field('secondBackbone').inputValue(), 'resnet18.tv1');
    assert.deepEqual([await visible('path'), await visible('weight')], [false, true]);
    assert.match(await page.locator('#goodparts-secondBackbone-facts').innerText(), /resnet18_Opset16\.onnx/);
    assert.equal(await page.locator('#goodparts-backbone-facts').innerText(), '', 'the first one has its own');
    await choice('secondBackbone').selectOption({ label: 'an ONNX file, by its path' });
    assert.deepEqual([await field('secondBackbone').inputValue(), await visible('path')], ['', true]);
    await field('secondBackbone').fill('/nets/line7.onnx');
    await field('secondWeight').fill('0.5');
    await page.locator('#node-config-dialog-ok').click();
    await page.locator('#node-config-dialog-ok').waitFor({ state: 'detached' });
    await page.locator('#red-ui-header-button-deploy').click();
    const model = async () => (await getJson<Deployed[]>(`${nodeRed!.url}/flows`)).find(({ id }) => id === MODEL)!;
    const { backbone, secondBackbone, secondWeight } = await until(model, one => Boolean(one.secondBackbone), 20);
    assert.deepEqual([backbone, secondBackbone, secondWeight], ['embedded', '/nets/line7.onnx', '0.5']);
    assert.deepEqual(workspace.troubles, []);
  });
});
