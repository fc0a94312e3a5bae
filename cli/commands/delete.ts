import { EXIT, type Command } from '../command';
import { engineOptions, STORE } from '../options';
import { withEngine } from '../run';

export const remove: Command = {
  summary: 'remove a detector, or one version of it',
  operands: '<detector> [version]',
  options: STORE,
  async run(args) {
    const [name, version] = args.operands;
    await withEngine(engineOptions(args), engine => engine.delete(name, version));
    return EXIT.fine;
  }
};
