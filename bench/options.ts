import os from 'node:os';
import { parseArgs } from 'node:util';

export interface Options {
  json?: string;
  /** names of sections; all where not given */
  only?: string[];
  /** a class in MVTec layout instead of the sample parts */
  images?: string;
  rounds: number;
  /** how long each load of the section `nodeRed` runs */
  seconds: number;
  threads: number;
  /** also what takes minutes: 10,000 pictures, a million patches */
  long: boolean;
  /** tiny numbers of everything: proves that it runs */
  quick: boolean;
  /** minutes of the section `soak`, which runs only where this is set */
  soak?: number;
}

function atLeastOne(name: string, given: string): number {
  const value = Number(given);
  if (!(value >= 1)) throw new Error(`--${name} takes a number from 1 on; it is ${given}.`);
  return value;
}

/** @throws Error that says which option is wrong, and what it may be */
export function parseOptions(args: string[], sections: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'string' },
      only: { type: 'string' },
      images: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      threads: { type: 'string' },
      soak: { type: 'string' },
      long: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false }
    }
  });
  const { quick, json, images, long } = values;
  const only = values.only?.split(',').map(name => name.trim());
  const unknown = only?.find(name => !sections.includes(name));
  if (unknown !== undefined)
    throw new Error(`--only takes names of ${sections.join(', ')}, with commas; "${unknown}" is none.`);
  return {
    json,
    images,
    only,
    long,
    quick,
    rounds: atLeastOne('rounds', values.rounds ?? (quick ? '1' : '3')),
    seconds: atLeastOne('seconds', values.seconds ?? (quick ? '1' : '8')),
    threads: atLeastOne('threads', values.threads ?? String(os.availableParallelism())),
    soak: values.soak === undefined ? undefined : atLeastOne('soak', values.soak)
  };
}
