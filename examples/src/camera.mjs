// What the function node "camera" of several-products.json, busy-line.json and kafka.json does; see functions.mjs.

/**
 * Draws parts, so that the flow can be tried without a camera: raw pixels, as a camera's driver gives them.
 * msg.payload: part ('disc' or 'square'), count, damaged (share of parts with a dark spot), size (pixels a side), learn (true:
 * to the first output, the last one with msg.complete; else to the second).
 */
export function camera(msg, { Buffer }) {
  const { part, count, damaged = 0, size = 96, learn = false } = msg.payload;
  // names of its own: in a function node each look at a global one takes long
  const { abs, hypot, max, random } = Math;
  const draw = bad => {
    const data = Buffer.alloc(size * size * 3);
    const [left, top] = [0, 0].map(() => size * (0.49 + random() * 0.02));
    let at = 0;
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const [dx, dy] = [abs(x - left) / size, abs(y - top) / size];
        const away = part === 'square' ? max(dx, dy) : hypot(dx, dy);
        const spot = bad && x > size * 0.4 && x < size * 0.62 && y > size * 0.2 && y < size * 0.42;
        const grey = (spot ? 10 : away < 0.12 ? 90 : away < 0.35 ? 200 : 110) + random() * 10;
        data[at++] = data[at++] = data[at++] = grey;
      }
    return { data, width: size, height: size, channels: 3 };
  };
  const { recipe } = msg;
  const messages = Array.from({ length: count }, () => ({ recipe, payload: draw(Math.random() < damaged) }));
  if (learn) messages[count - 1].complete = true;
  return learn ? [messages, null] : [null, messages];
}
