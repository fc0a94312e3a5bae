// `--soak MINUTES`: the memory of Node-RED and its engine under load.
import fs from 'node:fs';
import path from 'node:path';
import { storeOf, type Context } from '../context';
import type { SectionResult } from '../result';
import { soak } from '../soak';

export async function run(context: Context): Promise<SectionResult> {
  const { folder, pictures, backbones, options } = context;
  const load = {
    store: storeOf(context, backbones[0]),
    detector: 'bench',
    pictures: pictures.slice(0, 32).map(file => fs.readFileSync(file)),
    userDir: path.join(folder, 'soak')
  };
  const { minutes, scored, rssMb, mbAnHour } = await soak(load, options.soak!);
  const row = {
    minutes,
    scored,
    nodeRedMb: rssMb.nodeRed,
    engineMb: rssMb.engine,
    nodeRedMbAnHour: mbAnHour.nodeRed,
    engineMbAnHour: mbAnHour.engine
  };
  return { rows: [row] };
}
