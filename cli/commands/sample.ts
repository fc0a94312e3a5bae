import { EXIT, UsageError, type Command } from '../command';
import { print, Progress } from '../output';

export const sample: Command = {
  summary: "write a generated data set in MVTec's layout, to try things with",
  operands: '<folder>',
  options: {
    train: { type: 'string', value: 'N', help: 'good pictures to learn from' },
    test: { type: 'string', value: 'N', help: 'good pictures to test with' },
    size: { type: 'string', value: 'N', help: 'side of the pictures, pixels' },
    seed: { type: 'string', value: 'N', help: 'same seed, same pictures' }
  },
  async run(args) {
    const [folder] = args.operands;
    const options = {
      train: args.number('train'),
      test: args.number('test'),
      size: args.number('size'),
      seed: args.number('seed')
    };
    const { writeSample } = await import('../../lib/sample/index.js');
    const progress = new Progress();
    const onProgress = (done: number, total: number) => progress.report({ stage: 'pictures', done, total });
    const { train, good, defects } = await writeSample(folder, { ...options, onProgress })
      .catch((error: unknown) => {
        throw error instanceof RangeError ? new UsageError(error.message) : error;
      })
      .finally(progress.stop);
    print(`${folder}: ${train} good pictures to learn from; ${good} good and ${defects} defective ones to test`);
    return EXIT.fine;
  }
};
