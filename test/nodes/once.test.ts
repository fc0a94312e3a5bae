import assert from 'node:assert/strict';
import type { Node, NodeMessage } from 'node-red';
import { bench, fitted, helper, Inbox, modules, part, smallModel, until, type Caught } from './helper';
import { scratch } from '../support';

/** Node-RED's node, with what it does when a message is done with. */
type Completing = Node & { _complete(msg: NodeMessage, error?: Error): void };

describe('A message', () => {
  let store: string;
  let payload: Buffer;
  before(async () => {
    store = scratch();
    payload = await part(49);
    await fitted(store, 'screw');
    helper.settings({ userDir: store });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  const anomalyMap = { data: Buffer.alloc(16 * 16 * 4), width: 16, height: 16, normal: 1, threshold: 2 };
  const cases: [type: string, config: object, message: () => object][] = [
    ['anomaly-score', {}, () => ({ payload })],
    ['threshold', { method: 'fixed', value: 0.5 }, () => ({ payload: { score: 0.1 } })],
    ['heatmap', { image: 'image' }, () => ({ image: payload, anomalyMap })],
    ['anomaly-fit', {}, () => ({ payload, complete: true })]
  ];
  for (const [type, config, message] of cases)
    it(`is answered once by ${type} where sending it on, or being done with it, throws`, async () => {
      const flow = bench(type, config, smallModel(store));
      await helper.load(modules, flow.flow);
      const [out, caught] = [new Inbox(flow.out), new Inbox(flow.caught)];
      const node = helper.getNode(flow.node) as Completing;
      const { send, _complete: complete } = node;
      const answers: unknown[][] = [];
      node.send = (...args: unknown[]) => {
        const [msg] = args.flat() as NodeMessage[];
        if (msg.index === 0) throw new Error('no wire');
        return send.apply(node, args as never);
      };
      node._complete = (msg, error) => {
        answers.push([msg.index, error?.message]);
        complete.call(node, msg, error);
        if (msg.index === 1) throw new Error('no listener');
      };
      for (let index = 0; index < 3; index++) node.receive({ ...message(), index });
      await out.wait(2);
      await until(() => answers.length >= 3, 'answers');
      await new Promise(resolve => setTimeout(resolve, 20));
      assert.deepEqual(answers, [
        [0, 'no wire'],
        [1, undefined],
        [2, undefined]
      ]);
      assert.deepEqual(
        (caught.messages as Caught[]).map(({ index, error }) => [index, error.message]),
        [[0, 'Error: no wire']]
      );
    });
});
