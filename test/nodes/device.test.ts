import assert from 'node:assert/strict';
import type { ScoreResult } from '../../lib/engine';
import { health } from '../../lib/red/health';
import type { ModelNode } from '../../lib/red/nodes';
import { brightnessAfter, HEIGHT, tooManyParts, WIDTH } from '../engine/networks';
import { scratch, softwareGpu } from '../support';
import { bench, fitted, helper, Inbox, modules, part, smallModel, until } from './helper';

describe('device', () => {
  const environment = process.env;
  afterEach(async () => {
    await helper.unload();
    await helper.stopServer();
    process.env = environment;
  });

  it('that fails in the middle of work is replaced by the processor: parts are scored, status, log and health say so', async function () {
    const gpu = softwareGpu(this);
    const store = scratch();
    const network = brightnessAfter(tooManyParts);
    await fitted(store, 'screw', 3, { network, inputWidth: WIDTH, inputHeight: HEIGHT });
    process.env = { ...environment, ...gpu };
    helper.settings({ userDir: store });
    await helper.startServer();
    const flow = bench('anomaly-score', {}, smallModel(store, { device: 'webgpu' }));
    await helper.load(modules, flow.flow);
    const [out, statuses] = [new Inbox(flow.out), new Inbox(flow.statuses)];
    helper.getNode(flow.node).receive({ payload: await part(40) });
    const [{ payload }] = await out.wait(1);
    assert.ok((payload as ScoreResult).score > 0);
    const texts = () => statuses.messages.map(msg => (msg as { status?: { text: string } }).status?.text ?? '');
    await until(() => texts().some(text => /^webgpu → cpu \d+ ms$/.test(text)), `status, not ${texts().join('; ')}`);
    const logged = () =>
      helper.log().args.filter(([{ msg }]) => /^webgpu failed: .*Split.*the CPU is used instead/.test(msg)).length;
    assert.equal(logged(), 1);
    // the next process tries the device again, and says so again
    process.kill((helper.getNode(flow.model) as ModelNode).model.client.pid!, 'SIGKILL');
    helper.getNode(flow.node).receive({ payload: await part(41) });
    await out.wait(2);
    await until(() => logged() === 2, 'a second line in the log');
    const [engine] = (await health()).engines.filter(({ wanted }) => wanted === 'webgpu');
    assert.equal(engine.used, 'cpu');
    assert.match(engine.note!, /webgpu failed/);
  }).timeout(60000);
});
