/** What TypeScript's library for this target does not know of an ArrayBuffer that can shrink (Node 20 has it). */
type Resizable = ArrayBuffer & { resize(bytes: number): void };
const ResizableBuffer = ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => Resizable;

/** Numbers whose memory goes back to the system when it is told to, and not when the garbage collector comes by. */
export class Freeable {
  readonly data: Float32Array;
  private readonly buffer: Resizable;

  constructor(length: number) {
    const bytes = length * Float32Array.BYTES_PER_ELEMENT;
    this.buffer = new ResizableBuffer(bytes, { maxByteLength: bytes });
    this.data = new Float32Array(this.buffer);
  }

  free(): void {
    this.buffer.resize(0);
  }
}
