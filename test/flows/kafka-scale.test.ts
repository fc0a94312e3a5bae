/** Three Node-REDs in one consumer group, on a topic of six partitions, with one store of detectors. */
import assert from 'node:assert/strict';
import { KafkaClient, startKafka, type Broker, type KafkaMessage, type KafkaRecord } from '../services/kafka';
import { part, scratch } from '../support';
import { fitDisc, INSPECTION, inspector, json, WITH_KAFKA_IN, type Inspector, type Verdict } from './kafka-flow';
import { until } from './node-red';
import { INSTALLING } from './palette';

const GROUP = 'inspection';
const PARTITIONS = 6;

describe('kafka.json in several Node-REDs', function () {
  this.timeout(180_000);
  const store = scratch();
  let broker: Broker | undefined;
  let client: KafkaClient;
  let verdicts: KafkaRecord[];
  let pictures: Buffer[];
  const inspectors: Inspector[] = [];

  const add = async (count: number, nodes = INSPECTION) => {
    const more = Array.from({ length: count }, () => inspector(nodes, broker!.brokers, store));
    inspectors.push(...(await Promise.all(more)));
    await client.joined(GROUP, inspectors.length, 30);
  };
  const send = (name: string, count: number): Promise<void> => {
    const one = (i: number): KafkaMessage => ({
      key: `${name}-${i}`,
      value: pictures[i % pictures.length],
      headers: { recipe: 'disc' },
      partition: i % PARTITIONS
    });
    return client.send(
      'parts',
      Array.from({ length: count }, (_, i) => one(i))
    );
  };
  /** The verdicts of the parts with this name. */
  const of = (name: string) => verdicts.map(json<Verdict>).filter(one => one.part.startsWith(`${name}-`));
  const judged = (name: string) => new Set(of(name).map(one => one.part)).size;
  const reach = (name: string, count: number, seconds = 40) =>
    until(
      async () => judged(name),
      size => size >= count,
      seconds
    );
  /** Cuts the power of one of them, when it has some parts and not all. @returns what was judged until then */
  const killOne = async (name: string) => {
    const victim = inspectors.pop()!;
    await until(
      async () => victim.lines().filter(line => line.part.startsWith(`${name}-`)).length,
      length => length >= 3,
      30
    );
    await victim.kill();
  };

  before(async function () {
    this.timeout(INSTALLING);
    broker = await startKafka(this);
    client = await KafkaClient.to(broker);
    await client.create({ parts: PARTITIONS, verdicts: 1, overlays: 1, rejected: 1 });
    verdicts = await client.read('verdicts');
    pictures = await Promise.all(
      Array.from({ length: 12 }, (_, i) => part({ seed: i, size: 512, defect: i % 4 === 0 }))
    );
    assert.equal(await fitDisc(store), 'v1');
    await add(3);
  });
  after(async () => {
    await client?.close();
    await Promise.all(inspectors.map(one => one.stop()));
    await broker?.stop();
  });

  it('give every part exactly one verdict, each of them some', async () => {
    await send('first', 24);
    await reach('first', 24);
    const all = of('first');
    assert.equal(all.length, 24);
    assert.deepEqual(
      inspectors.map(one => one.lines().length),
      [8, 8, 8]
    );
    // each partition has its parts in order
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const offsets = all.flatMap(({ source }) => (source.partition === partition ? source.offset! : []));
      assert.deepEqual(offsets, [0, 1, 2, 3]);
    }
  });

  it('take up a new version by themselves, and each verdict names the one that gave it', async () => {
    assert.ok(of('first').every(({ detector }) => detector.version === 'v1'));
    assert.equal(await fitDisc(store), 'v2');
    await send('second', 12);
    await reach('second', 12);
    assert.ok(of('second').every(({ detector }) => detector.version === 'v2'));
    for (const one of inspectors) assert.equal(one.lines().at(-1)!.version, 'v2');
  });

  it('give every part at least one verdict, when one of them is killed in the middle', async () => {
    await send('killed', 60);
    await killOne('killed');
    const before = judged('killed');
    await reach('killed', 60);
    const twice = of('killed').length - 60;
    console.log(`      60 parts, one of three killed after ${before} verdicts: 0 without a verdict, ${twice} with two`);
  });

  it('lose parts with the Kafka node instead, until the group is put back', async () => {
    await Promise.all(inspectors.splice(0).map(one => one.stop()));
    await add(3, WITH_KAFKA_IN);
    // so many that the one that is killed cannot have judged all of its own by then
    await send('node', 150);
    await killOne('node');
    // the others have taken over when what comes now is judged, in every partition
    await client.joined(GROUP, 2, 30);
    await send('node-after', 6);
    await reach('node-after', 6);
    const known = new Set(of('node').map(one => one.part));
    const lost = Array.from({ length: 150 }, (_, i) => `node-${i}`).filter(id => !known.has(id));
    console.log(`      the same with the Kafka node: ${lost.length} of 150 parts without a verdict`);
    assert.ok(lost.length > 0, 'then the example may use the node');

    await Promise.all(inspectors.splice(0).map(one => one.stop()));
    await client.rewind(GROUP, 'parts');
    await add(2);
    await until(
      async () => {
        const now = new Set(of('node').map(one => one.part));
        return lost.filter(id => !now.has(id));
      },
      ({ length }) => length === 0,
      60
    );
  });
});
