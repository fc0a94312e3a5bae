import { EXIT, type Command } from '../command';
import { engineOptions, STORE } from '../options';
import { withEngine } from '../run';

export const activate: Command = {
  summary: 'make another version of a detector the current one',
  operands: '<detector> <version>',
  options: STORE,
  async run(args) {
    const [name, version] = args.operands;
    await withEngine(engineOptions(args), engine => engine.activate(name, version));
    return EXIT.fine;
  }
};
