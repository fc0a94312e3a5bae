/** Node-RED's editor as somebody with a mouse has it: palette, canvas, dialogs, Import menu, sidebar. */
import type { Browser, Locator, Page } from 'playwright-core';
import { until } from '../flows/node-red';

type Place = [x: number, y: number];

export class Workspace {
  /** what went wrong in the page, and what the editor complained about */
  readonly troubles: string[] = [];

  private constructor(readonly page: Page) {
    page.on('pageerror', error => this.troubles.push(error.message));
    page.on('console', message => {
      if (message.type() === 'error') this.troubles.push(`${message.text()} ${message.location().url}`);
    });
  }

  /** Opens the editor, and waits until it has its flows. */
  static async open(browser: Browser, url: string): Promise<Workspace> {
    const page = await browser.newPage({ viewport: { width: 1440, height: 760 }, locale: 'en-US' });
    page.setDefaultTimeout(30_000);
    const workspace = new Workspace(page);
    await page.goto(url, { waitUntil: 'commit', timeout: 200_000 });
    await page.waitForFunction('window.RED?.workspaces?.active()', undefined, { timeout: 200_000 });
    await page.locator('#red-ui-loading-progress').waitFor({ state: 'hidden' });
    return workspace;
  }

  /** What the editor has, as a person would count it. */
  evaluate<T>(expression: string): Promise<T> {
    return this.page.evaluate(expression) as Promise<T>;
  }

  /** Drags a node from the palette onto the canvas. @returns its id */
  async drag(type: string, [x, y]: Place): Promise<string> {
    const ids = `RED.nodes.filterNodes({ type: '${type}' }).map(node => node.id)`;
    const before = await this.evaluate<string[]>(ids);
    const tile = this.page.locator(`.red-ui-palette-node[data-palette-type="${type}"]`);
    await tile.scrollIntoViewIfNeeded();
    const canvas = (await this.page.locator('#red-ui-workspace-chart').boundingBox())!;
    await this.pull(await middle(tile), [canvas.x + x, canvas.y + y]);
    const after = await until(
      () => this.evaluate<string[]>(ids),
      all => all.length === before.length + 1,
      5
    );
    return after.find(id => !before.includes(id))!;
  }

  /** Wires an output (0: the first) to the input of another node. */
  async wire(from: string, to: string, output = 0): Promise<void> {
    const port = this.page.locator(`[id="${from}"] .red-ui-flow-port-output`).nth(output);
    await this.pull(await middle(port), await middle(this.page.locator(`[id="${to}"] .red-ui-flow-port-input`)));
  }

  /** Opens a node's dialog by a double-click, and waits until it has slid in. */
  async configure(id: string): Promise<void> {
    const node = await middle(this.page.locator(`[id="${id}"] .red-ui-flow-node`));
    const open = () => this.page.locator('#node-dialog-ok').isVisible();
    // on a busy machine two clicks may lie too far apart to be a double-click
    for (let tries = 0; tries < 5 && !(await open()); tries++) {
      await this.page.mouse.dblclick(...node);
      await until(open, shown => shown, 10).catch(() => {});
    }
    await this.settled('#node-dialog-ok');
  }

  /** Presses Done of a node's dialog, or of a configuration node's. */
  async done(which: '#node-dialog-ok' | '#node-config-dialog-ok' = '#node-dialog-ok'): Promise<void> {
    await this.page.locator(which).click();
    await this.page.locator(which).waitFor({ state: 'detached' });
    if (which === '#node-config-dialog-ok') await this.settled('#node-dialog-ok');
  }

  async deploy(): Promise<void> {
    await this.page.locator('#red-ui-header-button-deploy').click();
    await this.page.locator('.red-ui-notification', { hasText: 'Successfully deployed' }).waitFor();
    // for a while it takes every click, also after it has said so
    await this.page.locator('#red-ui-editor-shade').waitFor({ state: 'hidden' });
    // the word that it went well hides what lies under it
    await this.quiet();
  }

  /** Presses the button that an inject node has on the canvas. */
  press(id: string): Promise<void> {
    return this.page.locator(`[id="${id}"] .red-ui-flow-node-button-button`).click();
  }

  /** The text under a node, as soon as it is so. */
  status(id: string, pattern: RegExp, seconds = 30): Promise<string> {
    const label = this.page.locator(`[id="${id}"] .red-ui-flow-node-status-label`);
    return until(
      async () => (await label.textContent()) ?? '',
      text => pattern.test(text),
      seconds
    );
  }

  /** Menu > Import > Examples > this package > the file; `look` sees it selected. @returns what the editor says then */
  async importExample(name: string, look: () => Promise<void>): Promise<string> {
    await this.page.locator('#red-ui-header-button-sidemenu').click();
    await this.page.locator('#menu-item-import').click();
    const dialog = this.page.locator('#red-ui-clipboard-dialog');
    await dialog.waitFor();
    await this.page.locator('#red-ui-clipboard-dialog-import-tabs a', { hasText: 'Examples' }).click();
    const shown = dialog.locator('.red-ui-treeList-label:visible');
    await shown.getByText('@goodparts/node-red-anomaly', { exact: true }).click();
    const files = shown.filter({ has: this.page.locator('.fa-file-o') });
    // the list may still be unfolding, and what was under the mouse another one
    const select = () => files.getByText(name, { exact: true }).click();
    const ready = () => this.page.locator('#red-ui-clipboard-dialog-ok').isEnabled();
    await until(() => select().then(ready), Boolean, 20);
    await look();
    await this.page.locator('#red-ui-clipboard-dialog-ok').click();
    await dialog.waitFor({ state: 'hidden' });
    const said = await until(
      () => this.notifications(),
      texts => texts.length > 0,
      10
    );
    await this.quiet();
    return said.join();
  }

  /** What the sidebar's help says about a node type, found through its list of topics. */
  async help(type: string): Promise<Locator> {
    await this.evaluate(`RED.actions.invoke('core:show-help-tab')`);
    const search = this.page.locator('.red-ui-sidebar-info:visible .red-ui-searchBox-input');
    await search.fill(type);
    // the topic is called as the node in the palette is: anomaly fit
    const label = new RegExp(`^${type.replace('-', '.')}$`);
    const topic = this.page.locator('.red-ui-sidebar-help-toc .red-ui-node-label:visible').filter({ hasText: label });
    await topic.first().click();
    return this.page.locator('.red-ui-sidebar-help-stack .red-ui-help').first();
  }

  /** Nodes with a red triangle, and why; but for those whose palette is not installed. */
  incomplete(): Promise<unknown[]> {
    const marked = `RED.nodes.filterNodes({}).filter(n => n.type !== 'unknown' && !n.valid)`;
    return this.evaluate(`${marked}.map(n => [n.type, n.name, ...n.validationErrors])`);
  }

  /** Takes away what the editor says at the top of the page. */
  async quiet(): Promise<void> {
    await this.evaluate(`document.querySelectorAll('.red-ui-notification').forEach(one => one.close())`);
  }

  private notifications(): Promise<string[]> {
    const all = `[...document.querySelectorAll('.red-ui-notification')].filter(one => !one.closed)`;
    return this.evaluate(`${all}.map(one => one.textContent)`);
  }

  private async settled(button: string): Promise<void> {
    const left = async () => (await this.page.locator(button).boundingBox())?.x;
    let last: number | undefined = -1;
    await until(
      left,
      now => {
        const still = now !== undefined && now === last;
        last = now;
        return still;
      },
      10
    );
  }

  private async pull(from: Place, to: Place): Promise<void> {
    await this.page.mouse.move(...from);
    await this.page.mouse.down();
    await this.page.mouse.move(...to, { steps: 6 });
    await this.page.mouse.up();
  }
}

async function middle(what: Locator): Promise<Place> {
  const box = await what.boundingBox();
  if (!box) throw new Error(`${what.toString()} is not on the screen.`);
  return [box.x + box.width / 2, box.y + box.height / 2];
}
