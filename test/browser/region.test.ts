import assert from 'node:assert/strict';
import path from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import type { InspectedRegion } from '../../lib/engine';
import { getJson, startNodeRed, until, type NodeRed } from '../flows/node-red';
import { program } from '../services/program';
import { part, put, scratch } from '../support';

const MODEL = 'a0b1c2d3e4f50617';
/** What the editor gives a new model, as far as a field may not be empty. */
const GIVEN = { seed: 0, keepVersions: 5, maxMegabytes: 64, maxMegapixels: 100, maxSide: 20000, timeout: 60 };
const SCORE = 'b0b1c2d3e4f50617';
const FLOW = [
  { id: 'c0b1c2d3e4f50617', type: 'tab', label: 'region' },
  { id: MODEL, type: 'anomaly-model', name: 'ring', detector: 'ring', preset: 'anomalib', device: 'cpu', ...GIVEN },
  { id: SCORE, type: 'anomaly-score', z: 'c0b1c2d3e4f50617', x: 200, y: 80, model: MODEL, wires: [[], []] }
];
/** A browser that only speaks with this machine. */
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
];

type Corner = [x: number, y: number];
interface Deployed {
  id: string;
  region: string;
  regionPicture: string;
}

/** The dialog of the model, as somebody in front of it has it. */
class Dialog {
  constructor(
    private readonly page: Page,
    private readonly url: string
  ) {}

  async open(): Promise<void> {
    await this.page.evaluate(`RED.editor.editConfig('', 'anomaly-model', '${MODEL}')`);
    // the dialog slides in
    await this.page.locator('#node-config-dialog-ok').waitFor();
    await this.page.locator('#goodparts-tabs a', { hasText: 'Region' }).click();
    await this.page.locator('#goodparts-region-stage').waitFor();
    await this.page.waitForTimeout(600);
  }

  press(tool: string): Promise<void> {
    return this.page.locator(`#goodparts-region-${tool}`).click();
  }

  key(key: string): Promise<void> {
    return this.page.keyboard.press(key);
  }

  /** Where a corner is on the screen. */
  async at([x, y]: Corner): Promise<Corner> {
    const box = (await this.page.locator('#goodparts-region-stage svg').boundingBox())!;
    return [box.x + x * box.width, box.y + y * box.height];
  }

  async click(...corners: Corner[]): Promise<void> {
    for (const corner of corners) await this.page.mouse.click(...(await this.at(corner)));
  }

  async tap(...corners: Corner[]): Promise<void> {
    for (const corner of corners) await this.page.touchscreen.tap(...(await this.at(corner)));
  }

  async drag(from: Corner, to: Corner): Promise<void> {
    await this.page.mouse.move(...(await this.at(from)));
    await this.page.mouse.down();
    await this.page.mouse.move(...(await this.at(to)), { steps: 3 });
    await this.page.mouse.up();
  }

  async shown(): Promise<InspectedRegion> {
    const text = await this.page.locator('#node-config-input-region').inputValue();
    return text ? (JSON.parse(text) as InspectedRegion) : { include: [], exclude: [] };
  }

  async done(): Promise<void> {
    await this.page.locator('#node-config-dialog-ok').click();
    await this.page.locator('#node-config-dialog-ok').waitFor({ state: 'detached' });
  }

  /** Presses Deploy; what the runtime has of the model then. */
  async deploy(): Promise<Deployed> {
    await this.page.locator('#red-ui-header-button-deploy').click();
    const model = async () => (await getJson<Deployed[]>(`${this.url}/flows`)).find(({ id }) => id === MODEL)!;
    return until(model, ({ region }) => Boolean(region), 20);
  }
}

/** Pixels of the screen are coarser than shares. */
function near(polygon: Corner[], expected: Corner[]): void {
  assert.equal(polygon.length, expected.length, JSON.stringify(polygon));
  polygon.forEach(([x, y], i) => {
    const far = Math.max(Math.abs(x - expected[i][0]), Math.abs(y - expected[i][1]));
    assert.ok(far < 0.01, `corner ${i} at ${x}, ${y} instead of ${expected[i].join()}`);
  });
}

describe('region in the editor', function () {
  this.timeout(180_000);
  let nodeRed: NodeRed | undefined;
  let browser: Browser | undefined;
  let page: Page;
  let dialog: Dialog;
  const errors: string[] = [];
  const include: Corner[] = [
    [0.1, 0.1],
    [0.9, 0.1],
    [0.9, 0.8],
    [0.1, 0.8]
  ];
  const exclude: Corner[] = [
    [0.4, 0.3],
    [0.6, 0.3],
    [0.5, 0.6]
  ];

  before(async function () {
    const executablePath = program(this, 'chromium', 'chromium-browser', 'google-chrome');
    const folder = scratch();
    put(path.join(folder, 'flows.json'), JSON.stringify(FLOW));
    put(path.join(folder, 'good.png'), await part({ size: 400 }));
    nodeRed = await startNodeRed({ flows: path.join(folder, 'flows.json') });
    browser = await chromium.launch({ executablePath, args: ARGUMENTS });
    page = await browser.newPage({ viewport: { width: 1200, height: 1000 }, hasTouch: true, locale: 'en-US' });
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(nodeRed.url, { waitUntil: 'load' });
    await page.waitForFunction(`window.RED?.nodes?.node?.('${MODEL}')`, undefined, { timeout: 60_000 });
    dialog = new Dialog(page, nodeRed.url);
    await dialog.open();
    await page.locator('#goodparts-region-file').setInputFiles(path.join(folder, 'good.png'));
    await page.waitForFunction(`document.querySelector('#goodparts-region-image')?.naturalWidth === 400`);
  });
  after(async () => {
    await browser?.close();
    if (nodeRed) assert.equal(await nodeRed.stop(), 0);
  });

  it('draws with the mouse; Enter or the first corner closes, Esc gives up and leaves the dialog open', async () => {
    await dialog.press('include');
    await dialog.click(...include);
    await dialog.key('Enter');
    await dialog.press('exclude');
    await dialog.click([0.2, 0.2], [0.3, 0.3]);
    await dialog.key('Escape');
    await dialog.press('exclude');
    await dialog.click(...exclude, exclude[0]);
    const shown = await dialog.shown();
    near(shown.include[0], include);
    near(shown.exclude[0], exclude);
    assert.deepEqual([shown.include.length, shown.exclude.length], [1, 1]);
    assert.ok(await page.locator('#node-config-dialog-ok').isVisible(), 'the dialog is open');
  });

  it('moves corners, adds and deletes them and polygons, and takes each step back', async () => {
    const before = await dialog.shown();
    await dialog.drag(exclude[2], [0.5, 0.7]);
    near((await dialog.shown()).exclude[0], [exclude[0], exclude[1], [0.5, 0.7]]);
    // the dot between two corners
    await dialog.drag([0.5, 0.3], [0.5, 0.25]);
    assert.equal((await dialog.shown()).exclude[0].length, 4);
    await dialog.key('Delete');
    assert.equal((await dialog.shown()).exclude[0].length, 3, 'the new corner is deleted');
    await dialog.key('Delete');
    assert.equal((await dialog.shown()).exclude.length, 0, 'three corners are the least: the polygon goes');
    await dialog.press('undo');
    assert.equal((await dialog.shown()).exclude.length, 1);
    for (let i = 0; i < 3; i++) await dialog.key('Control+z');
    assert.deepEqual(await dialog.shown(), before);
  });

  it('draws by touch, without a keyboard', async () => {
    const corner: Corner[] = [
      [0.7, 0.6],
      [0.8, 0.6],
      [0.8, 0.7]
    ];
    await page.locator('#goodparts-region-exclude').tap();
    await dialog.tap(...corner);
    await page.locator('#goodparts-region-finish').tap();
    near((await dialog.shown()).exclude[1], corner);
    await page.locator('#goodparts-region-polygon').tap();
    assert.equal((await dialog.shown()).exclude.length, 1);
  });

  it('deploys the polygons and a small copy of the picture, and shows both again', async () => {
    await dialog.done();
    const { region, regionPicture } = await dialog.deploy();
    const { include: included, exclude: excluded } = JSON.parse(region) as InspectedRegion;
    near(included[0], include);
    near(excluded[0], exclude);
    assert.match(regionPicture, /^data:image\/jpeg;base64,/);
    assert.ok(regionPicture.length > 1000 && regionPicture.length <= 65536, `${regionPicture.length} characters`);
    await dialog.open();
    await page.waitForFunction(`document.querySelector('#goodparts-region-image')?.naturalWidth === 400`);
    assert.equal(await page.locator('#goodparts-region-stage polygon.goodparts-line').count(), 2);
    // what is not changed leaves nothing to deploy
    await dialog.done();
    assert.match((await page.locator('#red-ui-header-button-deploy').getAttribute('class'))!, /disabled/);
    assert.deepEqual(errors, []);
  });
});
