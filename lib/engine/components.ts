/** What `labelComponents` found. */
export interface Components {
  /** row-major, one a pixel: 0 is background, 1..count the component, numbered by its first pixel in reading order */
  labels: Int32Array;
  count: number;
}

/** The root of `label`'s tree, with the path to it halved. */
function rootOf(parents: Int32Array, label: number): number {
  while (parents[label] !== label) {
    parents[label] = parents[parents[label]];
    label = parents[label];
  }
  return label;
}

/** Joins two trees; the smaller label becomes the root, so that roots keep the reading order. Returns it. */
function join(parents: Int32Array, a: number, b: number): number {
  const rootA = rootOf(parents, a);
  const rootB = rootOf(parents, b);
  const root = Math.min(rootA, rootB);
  parents[rootA] = parents[rootB] = root;
  return root;
}

/**
 * Labels the 8-connected components of a binary picture, in two passes with a union-find between them.
 * (Wu, Otoo, Suzuki: Optimizing two-pass connected-component labeling algorithms, 2009: the decision tree over the four neighbours
 * already seen needs at most one union a pixel, because neighbours that touch each other are one component already.)
 * @param mask row-major, `width * height`; anything but 0 is foreground
 * @throws RangeError when the size does not fit the data
 */
export function labelComponents(mask: Uint8Array, width: number, height: number): Components {
  if (mask.length !== width * height)
    throw new RangeError(`a mask of ${mask.length} values is not ${width} x ${height} pixels`);
  const labels = new Int32Array(mask.length);
  // no two first pixels of provisional labels touch, so there is at most one a 2 x 2 block
  const parents = new Int32Array(Math.ceil(width / 2) * Math.ceil(height / 2) + 1);
  let provisional = 0;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (mask[i] === 0) continue;
      const above = i - width;
      const north = y > 0 ? labels[above] : 0;
      if (north !== 0) {
        labels[i] = north;
        continue;
      }
      const west = x > 0 ? labels[i - 1] : 0;
      const northWest = x > 0 && y > 0 ? labels[above - 1] : 0;
      const northEast = y > 0 && x + 1 < width ? labels[above + 1] : 0;
      const left = west !== 0 ? west : northWest;
      if (left !== 0) labels[i] = northEast !== 0 ? join(parents, left, northEast) : left;
      else if (northEast !== 0) labels[i] = northEast;
      else {
        labels[i] = ++provisional;
        parents[provisional] = provisional;
      }
    }
  }
  // a root is smaller than its children: one ascending pass turns every provisional label into its final number
  let count = 0;
  for (let label = 1; label <= provisional; label++)
    parents[label] = parents[label] === label ? ++count : parents[parents[label]];
  for (let i = 0; i < labels.length; i++) labels[i] = parents[labels[i]];
  return { labels, count };
}
