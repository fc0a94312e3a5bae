import { EXIT, type Command } from '../command';
import { STORE, storeOf } from '../options';
import { print } from '../output';

export const importDetector: Command = {
  summary: 'take in a detector that goodparts export --bundle wrote',
  operands: '<file>',
  options: {
    as: { type: 'string', value: 'NAME', help: 'what to call the detector here; default: its name' },
    ...STORE
  },
  notes: `
It becomes a new version of the detector, and the current one; older versions stay. Every file is checked before anything is kept.`,
  async run(args) {
    const { importBundle } = await import('../../lib/bundle/bundle.js');
    const { name, version, images } = await importBundle(storeOf(args), args.operands[0], args.text('as'));
    print(`${name} ${version}, fitted from ${images} good images, is in use`);
    return EXIT.fine;
  }
};
