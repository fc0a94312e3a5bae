/** Memory that is used again and again. */
export class Room {
  private data = new Float32Array(0);

  of(length: number): Float32Array {
    if (this.data.length < length) this.data = new Float32Array(length);
    return this.data.subarray(0, length);
  }
}
