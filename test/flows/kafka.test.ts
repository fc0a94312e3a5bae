/** examples/kafka.json against a real broker: the usual day, and the bad ones. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { KafkaClient, startKafka, type Broker, type KafkaRecord } from '../services/kafka';
import { part, scratch } from '../support';
import { Editor } from './editor';
import { FLOW, inspector, json, type Inspector, type Rejection, type Verdict } from './kafka-flow';
import { starter, until, watchMemory } from './node-red';
import { INSTALLING } from './palette';

const files = (folder: string): string[] =>
  fs.existsSync(folder) ? fs.readdirSync(folder).filter(name => !name.endsWith('.writing')) : [];

/** An uncompressed picture of about so many bytes. */
const picture = (bytes: number): Promise<Buffer> => {
  const side = Math.round(Math.sqrt(bytes / 3));
  return sharp({ create: { width: side, height: side, channels: 3, background: '#888' } })
    .tiff({ compression: 'none' })
    .toBuffer();
};

describe('kafka.json', function () {
  this.timeout(240_000);
  const [data, folder] = [scratch(), scratch()];
  const settings = { folder: data, port: 0 };
  let broker: Broker | undefined;
  let nodeRed: Inspector;
  let editor: Editor;
  let client: KafkaClient;
  let sent: KafkaRecord[];
  let verdicts: KafkaRecord[];
  let rejected: KafkaRecord[];
  let overlays: KafkaRecord[];

  const place = (...where: string[]) => path.join(folder, ...where);
  const status = (name: string) => editor.status('function', name) ?? '';
  const says = (name: string, pattern: RegExp, seconds = 20) =>
    until(
      async () => status(name),
      text => pattern.test(text),
      seconds
    );
  const count = (records: KafkaRecord[], wanted: number, seconds = 30) =>
    until(
      async () => records.length,
      length => length >= wanted,
      seconds
    );
  /** A picture into the folder, as a camera's program does it. */
  const save = (name: string, bytes: Buffer) => {
    fs.writeFileSync(place('todo/disc', `${name}.writing`), bytes);
    fs.renameSync(place('todo/disc', `${name}.writing`), place('todo/disc', name));
  };
  /** Topics are read each on its own: who has read a verdict may not have read the part yet. */
  const sentAs = async (key: string | undefined) =>
    (await until(
      async () => sent.find(one => one.key === key),
      found => found !== undefined,
      20
    ))!;
  /** Seconds until a client has found a Kafka that is there again: it asks ever less often, at last every half minute. */
  const AGAIN = 100;
  const verdictOf = (id: string) => verdicts.map(json<Verdict>).filter(one => one.part === id);

  before(async function () {
    this.timeout(INSTALLING);
    settings.port = await (await starter()).freePort(29_000 + Math.floor(Math.random() * 900));
    broker = await startKafka(this, settings);
    client = await KafkaClient.to(broker);
    await client.create({ parts: 6, verdicts: 2, rejected: 1, overlays: 1 });
    await broker.stop();
    nodeRed = await inspector([], `127.0.0.1:${settings.port}`, scratch(), folder);
    editor = await new Editor(nodeRed).opened();
    await editor.deploy(FLOW);
  });
  after(async () => {
    editor?.close();
    await client?.close();
    const code = await nodeRed?.stop();
    await broker?.stop();
    if (nodeRed) assert.equal(code, 0);
  });

  it('keeps the pictures while there is no Kafka, says so, and sends them when there is', async function () {
    await editor.press('learn');
    await editor.press('camera: 10 parts');
    await editor.shown('fitted', 1, 90);
    assert.equal(files(place('todo/disc')).length, 10);
    await says('outbox', /^no Kafka, 10 waiting$/);
    await says('read parts', /^no Kafka$/);

    broker = await startKafka(this, settings);
    [sent, verdicts, rejected, overlays] = await Promise.all(
      ['parts', 'verdicts', 'rejected', 'overlays'].map(topic => client.read(topic))
    );
    await count(verdicts, 10, AGAIN);
    await count(sent, 10);
    await says('outbox', /^Kafka there, 0 waiting$/);
    await says('read parts', /, 0 in the flow$/);
    assert.equal(files(place('sent/disc')).length, 10);
    assert.deepEqual(files(place('todo/disc')), []);
    assert.equal(sent.length, 10);
  });

  it('gives each part one verdict that says which part, where it lies, and by which version', async () => {
    for (const { partition, offset, key, value, headers } of sent) {
      assert.ok(value!.length > 1.2e6 && value!.subarray(0, 4).equals(Buffer.from('II*\0')), `${value!.length} bytes`);
      assert.ok(value!.equals(fs.readFileSync(place('sent/disc', `${key}.tiff`))), 'not a byte is changed');
      assert.equal(headers.recipe, 'disc');
      const [verdict, ...more] = verdictOf(key!);
      assert.deepEqual(more, []);
      assert.deepEqual(verdict.source, { topic: 'parts', partition, offset });
      assert.deepEqual(verdict.detector, { name: 'disc', version: 'v1' });
      assert.equal(verdict.verdict === 'ng', verdict.score > verdict.threshold);
      assert.equal(verdict.overlay, verdict.verdict === 'ng');
    }
    for (const { key, value } of verdicts) assert.equal(key, json<Verdict>({ value } as KafkaRecord).part);
    const ng = verdicts.map(json<Verdict>).filter(({ verdict }) => verdict === 'ng');
    await count(overlays, ng.length);
    assert.equal(overlays.length, ng.length);
    for (const { key, value, headers } of overlays) {
      const { source } = ng.find(({ part: id }) => id === key)!;
      assert.deepEqual(headers, {
        recipe: 'disc',
        version: 'v1',
        partition: `${source.partition}`,
        offset: `${source.offset}`
      });
      const { format, width } = await sharp(value!).metadata();
      assert.deepEqual({ format, width }, { format: 'jpeg', width: 640 });
    }
    const lines = nodeRed.lines();
    assert.deepEqual(lines.map(line => line.part).sort(), sent.map(({ key }) => key).sort());
    assert.ok(lines.every(line => line.version === 'v1' && JSON.stringify(line).length < 500));
    assert.equal((await editor.shown('verdicts', 10)).length, 10);
    assert.deepEqual(editor.debugged('errors'), []);
  });

  it('goes on after Kafka was away in the middle, with every part', async function () {
    const before = verdicts.length;
    await editor.press('camera: 10 parts');
    await count(verdicts, before + 2);
    await broker!.stop();
    await editor.press('camera: 10 parts');
    await says('outbox', /^no answer for \d+ s, \d+ waiting$/);
    await says('read parts', /^no Kafka$/);
    broker = await startKafka(this, settings);
    const all = () => new Set(verdicts.map(({ key }) => key));
    await until(
      async () => all().size,
      size => size === before + 20,
      AGAIN
    );
    await says('outbox', /^Kafka there, 0 waiting$/);
    assert.deepEqual(
      [...all()].sort(),
      files(place('sent/disc'))
        .map(name => path.parse(name).name)
        .sort()
    );
    assert.equal(rejected.length, 0);
  });

  it('names what cannot be scored, and why, and goes on', async () => {
    const good = await part();
    const headers = { recipe: 'disc' };
    await client.send('parts', [
      { key: 'no-value', value: null, headers },
      { key: 'empty', value: '', headers },
      { key: 'a-path', value: 'flows.json', headers },
      { key: 'half', value: good.subarray(0, good.length / 2), headers },
      { key: 'other', value: good, headers: { recipe: 'never-fitted' } },
      { key: 'trick', value: good, headers: { recipe: '../disc' } },
      { key: 'which', value: good },
      { value: good, headers, partition: 3 },
      { key: 'twice', value: good, headers },
      { key: 'twice', value: good, headers }
    ]);
    await count(rejected, 7);
    const named = Object.fromEntries(rejected.map(record => [record.key!, json<Rejection>(record)]));
    const codes = Object.fromEntries(Object.entries(named).map(([key, { code }]) => [key, code]));
    assert.deepEqual(codes, {
      'no-value': 'input-missing',
      empty: 'image-empty',
      'a-path': 'image-format',
      half: 'image-unreadable',
      other: 'detector-unknown',
      trick: 'name-invalid',
      which: 'input-missing'
    });
    for (const [key, { part: id, reason, source }] of Object.entries(named)) {
      const { partition, offset } = await sentAs(key);
      assert.equal(id, key);
      assert.match(reason, /^.{15,}/);
      assert.doesNotMatch(reason, /Error:/);
      assert.deepEqual(source, { topic: 'parts', partition, offset });
    }
    // the same id twice is two parts, each with its place; without an id the place is the id
    await until(
      async () => verdictOf('twice').length,
      length => length === 2,
      20
    );
    const [first, second] = verdictOf('twice').map(({ source }) => source.offset!);
    assert.notEqual(first, second);
    const { offset } = await sentAs(undefined);
    assert.equal(verdictOf(`3-${offset}`).length, 1);
    await says('read parts', /, 0 in the flow$/);
  });

  it('names a picture that is too large for Kafka, and scores it where Kafka takes it', async () => {
    const large = await picture(50e6);
    assert.ok(large.length > 49e6);
    save('small.tiff', await picture(8e6));
    save('large.tiff', large);
    save('empty.tiff', Buffer.alloc(0));
    await count(rejected, 9);
    const [one, other] = rejected
      .slice(-2)
      .map(json<Rejection>)
      .sort((a, b) => a.part.localeCompare(b.part));
    assert.deepEqual([one.part, one.code, one.source], ['empty', 'image-empty', null]);
    assert.deepEqual([other.part, other.code, other.source], ['large', 'MESSAGE_TOO_LARGE', null]);
    assert.deepEqual(files(place('refused/disc')).sort(), ['empty.tiff', 'large.tiff']);
    await until(
      async () => verdictOf('small').length,
      length => length === 1,
      20
    );

    await client.allow('parts', 64 * 2 ** 20);
    fs.renameSync(place('refused/disc/large.tiff'), place('todo/disc/large.tiff'));
    await until(
      async () => verdictOf('large').length,
      length => length === 1,
      30
    );
  });

  it('says what could not be written: an overlay in the verdict, a verdict as a rejection', async () => {
    const value = await part({ defect: true });
    const headers = { recipe: 'disc' };
    await client.allow('overlays', 500);
    await client.send('parts', [{ key: 'no-overlay', value, headers }]);
    await until(
      async () => verdictOf('no-overlay').length,
      length => length === 1,
      20
    );
    assert.deepEqual([verdictOf('no-overlay')[0].verdict, verdictOf('no-overlay')[0].overlay], ['ng', false]);
    await client.allow('verdicts', 100);
    const before = rejected.length;
    await client.send('parts', [{ key: 'no-verdict', value, headers }]);
    await count(rejected, before + 1);
    const { part: id, recipe, code, source } = json<Rejection>(rejected.at(-1)!);
    assert.deepEqual([id, recipe, code], ['no-verdict', 'disc', 'MESSAGE_TOO_LARGE']);
    assert.equal(source!.offset, (await sentAs('no-verdict')).offset);
    await client.allow('verdicts', 2 ** 20);
    await client.allow('overlays', 2 ** 24);
  });

  it('keeps its memory when a great many come at once', async function () {
    const watched = watchMemory(this, nodeRed.pid);
    const eight = await picture(8e6);
    for (let i = 0; i < 50; i++) save(`many-${i}.tiff`, eight);
    const done = () => new Set(verdicts.flatMap(({ key }) => (key!.startsWith('many-') ? key! : []))).size;
    await until(
      async () => done(),
      size => size === 50,
      90
    );
    const { before, most } = watched();
    console.log(
      `      400 MB of pictures: memory of Node-RED ${before.toFixed(0)} MB before, ${most.toFixed(0)} MB at most`
    );
    // what is under way is held, and what was and Node.js has not yet cleared away: not all that came
    assert.ok(most < before + 350, `${before} MB before, ${most} MB at most`);
  });
});
