/** Parts a second by one, two and three Node-REDs in one consumer group of a real broker: `node dist/bench/kafka.js`. One or two minutes. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { Engine } from '../lib/engine';
import { INSPECTION, inspector, json, type Inspector, type Verdict } from '../test/flows/kafka-flow';
import { until } from '../test/flows/node-red';
import { KafkaClient, type Broker } from '../test/services/kafka';
import { part, parts, ROOT, scratch } from '../test/support';

const [PARTS, ROUNDS, MOST] = [60, 3, 3];

/** Uncompressed, 1.2 MB, as the example's camera saves them. */
const tiff = async (picture: Buffer): Promise<Buffer> => sharp(picture).tiff({ compression: 'none' }).toBuffer();

async function main(): Promise<void> {
  const { start } = (await import(pathToFileURL(path.join(ROOT, 'scripts/kafka.mjs')).href)) as {
    start: () => Promise<Broker>;
  };
  const broker = await start();
  const client = await KafkaClient.to(broker);
  await client.create({ parts: 6, verdicts: 1, overlays: 1, rejected: 1 });
  const verdicts = await client.read('verdicts');
  const store = scratch();
  const engine = new Engine({ store });
  await engine.fit('disc', await parts(16, { size: 640 }));
  await engine.close();
  const pictures = await Promise.all(
    Array.from({ length: 10 }, async (_, seed) => tiff(await part({ seed, size: 640 })))
  );

  const send = async (name: string, count: number): Promise<number> => {
    const records = Array.from({ length: count }, (_, i) => ({
      key: `${name}-${i}`,
      value: pictures[i % pictures.length],
      headers: { recipe: 'disc' },
      partition: i % 6
    }));
    const began = Date.now();
    // a request is 16 MB at most
    for (let i = 0; i < count; i += 10) await client.send('parts', records.slice(i, i + 10));
    const mine = () => verdicts.map(json<Verdict>).filter(one => one.part.startsWith(`${name}-`)).length;
    await until(
      async () => mine(),
      length => length >= count,
      300
    );
    return (Date.now() - began) / 1000;
  };

  const inspectors: Inspector[] = [];
  while (inspectors.length < MOST) {
    inspectors.push(await inspector(INSPECTION, broker.brokers, store));
    await client.joined('inspection', inspectors.length, 60);
    const count = inspectors.length;
    await send(`warm-${count}`, 24);
    const seconds: number[] = [];
    for (let round = 0; round < ROUNDS; round++) seconds.push(await send(`${count}-${round}`, PARTS));
    const rates = seconds.map(one => (PARTS / one).toFixed(1)).join(', ');
    console.log(`${count} Node-RED: ${rates} parts a second (${ROUNDS} rounds of ${PARTS} parts of 1.2 MB)`);
  }
  await client.close();
  await Promise.all(inspectors.map(one => one.stop()));
  await broker.stop();
}

void main();
