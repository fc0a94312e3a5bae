// AssemblyScript: compiled to WebAssembly by scripts/build.mjs, called by lib/engine/squared.ts. JavaScript has no SIMD.

/** Numbers after which a distance that has grown too large is given up. */
const STRIDE: i32 = 128;

/**
 * Squared distance of two vectors, or some number above `limit` where it is larger than that.
 * @param x where the vectors lie in memory, bytes; there float32, and zeros up to the next multiple of 8 numbers
 * @param length numbers of each
 */
export function squared(x: usize, y: usize, length: i32, limit: f64): f64 {
  let sum: f64 = 0;
  for (let i: i32 = 0; i < length && sum <= limit;) {
    let even = f32x4.splat(0);
    let odd = f32x4.splat(0);
    for (const stop = min(length, i + STRIDE); i < stop; i += 8) {
      const a = f32x4.sub(v128.load(x), v128.load(y));
      const b = f32x4.sub(v128.load(x, 16), v128.load(y, 16));
      even = f32x4.add(even, f32x4.mul(a, a));
      odd = f32x4.add(odd, f32x4.mul(b, b));
      x += 32;
      y += 32;
    }
    const both = f32x4.add(even, odd);
    sum +=
      <f64>(f32x4.extract_lane(both, 0) + f32x4.extract_lane(both, 1)) +
      <f64>(f32x4.extract_lane(both, 2) + f32x4.extract_lane(both, 3));
  }
  return sum;
}
