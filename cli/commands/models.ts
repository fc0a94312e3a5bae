import { entryOf, readCatalogue } from '../../lib/engine/catalogue';
import { GoodpartsError } from '../../lib/engine/errors';
import { libraryFolder, megabytes } from '../../lib/engine/library';
import type { ListedBackbone } from '../../lib/backbones/shelf';
import { EXIT, UsageError, type Arguments, type Command } from '../command';
import { STORE, storeOf } from '../options';
import { note, print, printJson, Progress, table } from '../output';
import { interruptible } from '../run';

type Action = (args: Arguments, store: string, what: string[]) => Promise<void>;

function stateOf({ state, done, bytes }: ListedBackbone): string {
  const share = bytes ? ` ${Math.floor((100 * done) / bytes)} %` : '';
  return { there: 'there', missing: '-', damaged: 'DAMAGED', begun: `begun${share}`, downloading: `coming${share}` }[
    state
  ];
}

const list: Action = async (args, store, what) => {
  if (what.length > 0) throw new UsageError('models list takes no more arguments');
  const { listBackbones } = await import('../../lib/backbones/shelf.js');
  const backbones = await listBackbones(store);
  if (args.flag('json')) return printJson(backbones);
  const rows = backbones.map(one => [
    one.id,
    one.bytes === null ? '-' : megabytes(one.bytes),
    one.licence ? `${one.licence} (${one.caveat})` : 'imported',
    stateOf(one)
  ]);
  print(table(['backbone', 'MB', 'licence', 'state'], rows));
  const caveats = Object.entries(readCatalogue().caveats).map(([key, text]) => `${key}: ${text}`);
  print(`\n${caveats.join('\n')}\nFolder: ${libraryFolder(store)}`);
};

const pull: Action = async (args, store, ids) => {
  if (ids.length === 0) throw new UsageError('models pull takes an id; goodparts models list shows them');
  const { pullBackbone } = await import('../../lib/backbones/pull.js');
  for (const id of ids) {
    const entry = entryOf(id);
    if (!entry)
      throw new GoodpartsError(
        'backbone-missing',
        `There is no backbone "${id}" in the catalogue: goodparts models list.`
      );
    const progress = new Progress();
    const folder = await interruptible(signal =>
      pullBackbone(entry, store, {
        signal,
        acceptLicence: args.flag('accept-licence'),
        onProgress: ({ done, total }) =>
          progress.report({ stage: 'MB', done: Math.floor(done / 1e6), total: Math.ceil((total ?? done) / 1e6) })
      })
    ).finally(progress.stop);
    print(`${id}: ${folder}`);
    note(`goodparts: ${entry.licence}. ${readCatalogue().caveats[entry.caveat]}`);
  }
};

const bringIn: Action = async (args, store, files) => {
  if (files.length === 0) throw new UsageError('models import takes a file');
  const id = args.text('id');
  if (id !== undefined && files.length > 1) throw new UsageError('--id is for one file');
  const { importBackbone } = await import('../../lib/backbones/import.js');
  for (const file of files) {
    const imported = await importBackbone(file, store, { id });
    const { missing } = imported;
    const rest = missing.length > 0 ? `; still missing: ${missing.join(', ')}` : '';
    print(`${imported.id}: ${imported.file}, sha256 ${imported.sha256}${rest}`);
  }
};

const remove: Action = async (args, store, ids) => {
  if (ids.length === 0) throw new UsageError('models remove takes an id');
  const { removeBackbone } = await import('../../lib/backbones/shelf.js');
  for (const id of ids) await removeBackbone(id, store, args.flag('force'));
};

const ACTIONS: Record<string, Action> = { list, pull, import: bringIn, remove };

export const models: Command = {
  summary: 'the backbones beside the embedded one: list, download, bring in from a file, remove',
  operands: '<list|pull|import|remove> [id or file...]',
  options: {
    ...STORE,
    id: { type: 'string', value: 'ID', help: 'import: what to call it; default: the name of the file' },
    force: { type: 'boolean', help: 'remove: also where a detector needs it' },
    'accept-licence': { type: 'boolean', help: 'pull: for those whose licence has to be read first' },
    json: { type: 'boolean', help: 'list: print all that is known as one JSON array, addresses and checksums included' }
  },
  notes: `
goodparts models list                what can be had, how large it is, under which licence, and what is here
goodparts models pull <id...>        download; what broke off goes on; HTTP(S)_PROXY and NO_PROXY count
goodparts models import <file...>    from a file that somebody brought; the catalogue's are known by their checksum
goodparts models remove <id...>      from the store
Then: goodparts fit <detector> <folder> --backbone <id>. Without internet: docs/backbones.md.`,
  async run(args) {
    const [action, ...what] = args.operands;
    if (!Object.hasOwn(ACTIONS, action))
      throw new UsageError(`models takes list, pull, import or remove, not "${action}"`);
    await ACTIONS[action](args, storeOf(args), what);
    return EXIT.fine;
  }
};
