/** Each new value of a label is a time series in Prometheus, for ever; a message must not be able to make thousands. */
const MOST_VALUES = 100;
const LONGEST = 100;

/** A label's values as they come, up to a number; what comes after is `other`. */
export function bounded(most = MOST_VALUES): (value: string) => string {
  const known = new Set<string>();
  return value => {
    const label = value.slice(0, LONGEST);
    if (known.has(label)) return label;
    if (known.size >= most) return 'other';
    known.add(label);
    return label;
  };
}
