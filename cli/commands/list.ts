import path from 'node:path';
import type { DetectorInfo } from '../../lib/engine';
import { EXIT, type Command } from '../command';
import { engineOptions, STORE } from '../options';
import { note, print, printJson, table } from '../output';
import { withEngine } from '../run';

const backbonesOf = ({ backbone, secondBackbone }: DetectorInfo['settings']): string =>
  [backbone, secondBackbone]
    .filter(Boolean)
    .map(name => path.basename(name))
    .join(' + ');

export const list: Command = {
  summary: 'the detectors in the store and their versions',
  operands: '',
  options: { ...STORE, json: { type: 'boolean', help: 'print them as one JSON array' } },
  async run(args) {
    const options = engineOptions(args);
    const detectors = await withEngine(options, engine => engine.list());
    if (args.flag('json')) printJson(detectors);
    else if (detectors.length === 0) note(`goodparts: there is no detector in ${options.store}`);
    else
      print(
        table(
          ['detector', 'version', 'current', 'made', 'pictures', 'patches', 'network', 'preset', 'input'],
          detectors.map(({ name, version, current, created, images, settings, ...info }) => [
            name,
            version,
            current ? '*' : '',
            created,
            images,
            info.kind === 'onnx' ? '' : info.bankSize,
            info.kind === 'onnx' ? info.network.source.file : backbonesOf(settings),
            info.kind === 'onnx' ? info.network.format : settings.preset,
            `${settings.inputWidth}x${settings.inputHeight}`
          ])
        )
      );
    return EXIT.fine;
  }
};
