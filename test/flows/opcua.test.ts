/** examples/opcua.json against a real OPC UA server: the handshake, errors, and a restart of either side. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Plc } from '../services/opcua';
import { part, put, ROOT, scratch } from '../support';
import type { FlowNode } from './editor';
import { fitDisc } from './kafka-flow';
import { startNodeRed, starter, until, type NodeRed } from './node-red';
import { INSTALLING, modulesOf, palette } from './palette';

const EXAMPLE = path.join(ROOT, 'examples/opcua.json');
const FLOW: FlowNode[] = JSON.parse(fs.readFileSync(EXAMPLE, 'utf8'));

describe('opcua.json', function () {
  this.timeout(90_000);
  const [store, pictures, home] = [scratch(), scratch(), scratch()];
  let modules: string;
  let port: number;
  let plc: Plc | undefined;
  let nodeRed: NodeRed;

  const is = (name: string, wanted: boolean, seconds = 30) =>
    until(
      async () => plc!.get<boolean>(name),
      value => value === wanted,
      seconds
    );
  const start = () => {
    const env = {
      OPCUA_ENDPOINT: `opc.tcp://127.0.0.1:${port}`,
      PARTS_FOLDER: pictures,
      GOODPARTS_STORE: store,
      XDG_CONFIG_HOME: home
    };
    return startNodeRed({ flows: EXAMPLE, env, palette: modulesOf(FLOW) });
  };
  const trigger = (PartId: string, RecipeId = '') => plc!.set({ PartId, RecipeId, Trigger: true });
  const result = async () => {
    await is('ResultReady', true);
    assert.deepEqual([plc!.get('Busy'), plc!.get('Ready')], [false, true]);
    const names = ['Result', 'ResultPartId', 'Score', 'Threshold', 'Detector', 'ErrorCode', 'ErrorText'];
    return Object.fromEntries(names.map(name => [name, plc!.get(name)]));
  };
  const acknowledge = async () => {
    plc!.set({ Trigger: false });
    await is('ResultReady', false);
    assert.equal(plc!.get('Ready'), true);
  };

  before(async function () {
    this.timeout(INSTALLING);
    modules = await palette(modulesOf(FLOW));
    port = await (await starter()).freePort(27_000 + Math.floor(Math.random() * 900));
    await fitDisc(store);
    put(path.join(pictures, 'good-1.png'), await part({ seed: 1 }));
    put(path.join(pictures, 'bad-1.jpg'), await part({ seed: 2, defect: true, format: 'jpeg' }));
    put(path.join(pictures, 'broken.png'), 'no picture');
    nodeRed = await start();
  });
  after(async () => {
    await nodeRed?.stop();
    await plc?.stop();
  });

  it('connects to a server that comes later, and is ready', async () => {
    plc = await Plc.start(modules, port);
    await is('Ready', true, 60);
    assert.equal(plc.get('Busy'), false);
  });

  it('inspects a part by the handshake', async () => {
    trigger('good-1');
    const { Score, Threshold, ...good } = await result();
    assert.deepEqual(good, { Result: 1, ResultPartId: 'good-1', Detector: 'disc v1', ErrorCode: 0, ErrorText: '' });
    assert.ok(Score > 0 && Score <= Threshold);
    await acknowledge();
    trigger('bad-1', 'disc');
    const bad = await result();
    assert.deepEqual([bad.Result, bad.ResultPartId, bad.ErrorCode], [3, 'bad-1', 0]);
    assert.ok(bad.Score > bad.Threshold);
    await acknowledge();
  });

  it('says by a number and a sentence why a part has no verdict', async () => {
    const wrong: [number, string, string][] = [
      [1, '', ''],
      [1, 'no-such-part', ''],
      [1, '../store', ''],
      [2, 'broken', ''],
      [3, 'good-1', 'never-fitted']
    ];
    for (const [code, id, recipe] of wrong) {
      trigger(id, recipe);
      const { Result, ResultPartId, ErrorCode, ErrorText } = await result();
      assert.deepEqual([Result, ResultPartId, ErrorCode], [0, id, code], String(ErrorText));
      assert.match(String(ErrorText), /^.{15,}/);
      assert.doesNotMatch(String(ErrorText), /Error:/);
      await acknowledge();
    }
  });

  it('waits for the picture', async () => {
    trigger('later');
    await is('Busy', true);
    put(path.join(pictures, 'later.writing'), await part({ seed: 5 }));
    fs.renameSync(path.join(pictures, 'later.writing'), path.join(pictures, 'later.png'));
    assert.equal((await result()).ResultPartId, 'later');
    await acknowledge();
  });

  it('takes the part again when Node-RED was killed in the middle', async () => {
    trigger('not-yet');
    await is('Busy', true);
    await nodeRed.kill();
    put(path.join(pictures, 'not-yet.png'), await part({ seed: 6 }));
    assert.deepEqual([plc!.get('Busy'), plc!.get('ResultReady')], [true, false]);
    const beat = plc!.get<number>('Heartbeat');
    nodeRed = await start();
    const { ResultPartId, Result } = await result();
    assert.equal(ResultPartId, 'not-yet');
    assert.notEqual(Result, 0);
    await until(
      async () => plc!.get<number>('Heartbeat'),
      now => now !== beat,
      10
    );
    await acknowledge();
  });

  it('goes on when the server was restarted in the middle', async () => {
    trigger('again');
    await is('Busy', true);
    await plc!.stop();
    put(path.join(pictures, 'again.png'), await part({ seed: 7, defect: true }));
    plc = await Plc.start(modules, port);
    // a PLC that starts finds its part still in place, and sets the trigger again
    trigger('again');
    const { ResultPartId, Result, ErrorCode } = await result();
    assert.deepEqual([ResultPartId, Result, ErrorCode], ['again', 3, 0]);
    await acknowledge();
    trigger('good-1');
    assert.equal((await result()).Result, 1);
    await acknowledge();
  });
});
