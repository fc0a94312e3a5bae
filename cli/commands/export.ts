import fs from 'node:fs';
import path from 'node:path';
import { GoodpartsError } from '../../lib/engine/errors';
import { EXIT, UsageError, type Command } from '../command';
import { DEVICE, engineOptions, LIMIT, limitRule, STORE, VERSION } from '../options';
import { print } from '../output';
import { withEngine } from '../run';

export const exportDetector: Command = {
  summary: 'take a detector elsewhere: one ONNX file for any ONNX Runtime, or a bundle for another plant',
  operands: '<detector>',
  options: {
    onnx: { type: 'string', value: 'FILE', help: 'one .onnx file: RGB picture in; score, map and verdict out' },
    bundle: { type: 'string', value: 'FILE', help: 'one .tgz file for goodparts import, with its backbone' },
    ...LIMIT,
    ...VERSION,
    ...DEVICE,
    ...STORE
  },
  notes: `
The threshold goes into the ONNX file as the default of its input "threshold"; it can be given anew at each picture.
What the inputs and outputs are, and how Python and C# run it: docs/export.md. The licence of the backbone goes along with it.`,
  async run(args) {
    const [name] = args.operands;
    const [onnx, bundle] = [args.text('onnx'), args.text('bundle')];
    if (!onnx === !bundle) throw new UsageError('export takes --onnx FILE or --bundle FILE');
    const options = engineOptions(args);
    if (bundle) {
      const { exportBundle } = await import('../../lib/bundle/bundle.js');
      const version = await exportBundle(options.store, name, bundle, args.text('version'));
      print(`${bundle}: ${name} ${version}, ${megabytes(bundle)}`);
      return EXIT.fine;
    }
    const model = await withEngine(options, engine => engine.exportOnnx(name, limitRule(args), args.text('version')));
    write(onnx!, model);
    print(`${onnx}: ${name}, ${megabytes(onnx!)}`);
    return EXIT.fine;
  }
};

function write(file: string, bytes: Uint8Array): void {
  try {
    fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
    fs.writeFileSync(file, bytes);
  } catch (error) {
    throw new GoodpartsError('store-write', `${file} cannot be written: ${(error as Error).message}.`);
  }
}

const megabytes = (file: string): string => `${(fs.statSync(file).size / 1e6).toFixed(1)} MB`;
