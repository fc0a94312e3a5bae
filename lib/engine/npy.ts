/** NumPy's .npy format, version 1.0: readable with `numpy.load`. */

const TYPES = {
  '<f4': Float32Array,
  '<i4': Int32Array,
  '|u1': Uint8Array
} as const;
type Descr = keyof typeof TYPES;
export type NpyData = Float32Array | Int32Array | Uint8Array;

export interface Npy<T extends NpyData = NpyData> {
  data: T;
  shape: number[];
}

const MAGIC = Buffer.from('\x93NUMPY\x01\x00', 'latin1');

export function encodeNpy({ data, shape }: Npy): Buffer {
  const descr = data instanceof Float32Array ? '<f4' : data instanceof Int32Array ? '<i4' : '|u1';
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
  const length = Buffer.alloc(2);
  length.writeUInt16LE(padded.length);
  return Buffer.concat([
    MAGIC,
    length,
    Buffer.from(padded, 'latin1'),
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  ]);
}

/** The data is a view of `bytes` where it can be. @throws Error when the bytes are no .npy file of a type that the engine writes, or shorter than their header says */
export function decodeNpy(bytes: Buffer): Npy {
  if (!bytes.subarray(0, 8).equals(MAGIC)) throw new Error('not a .npy file');
  const start = 10 + bytes.readUInt16LE(8);
  const header = bytes.subarray(10, start).toString('latin1');
  const descr = /'descr': '([^']+)'/.exec(header)?.[1] as Descr;
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? '')
    .split(',')
    .filter(s => s.trim())
    .map(Number);
  const type = TYPES[descr];
  if (!type || header.includes('True')) throw new Error(`unsupported .npy header: ${header.trim()}`);
  const length = shape.reduce((a, b) => a * b, 1);
  if (bytes.length - start !== length * type.BYTES_PER_ELEMENT)
    throw new Error('.npy file is shorter or longer than its header says');
  const at = bytes.byteOffset + start;
  // copied only where the data starts at an address that the typed array's alignment forbids
  if (at % type.BYTES_PER_ELEMENT === 0) return { data: new type(bytes.buffer as ArrayBuffer, at, length), shape };
  return { data: new type(new Uint8Array(bytes.subarray(start)).buffer), shape };
}
