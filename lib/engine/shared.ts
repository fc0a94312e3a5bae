/** Results that several detectors can use, by what they were made from and what made them; they last as long as the call. */
export type Shared = Map<object, Map<object, Promise<unknown>>>;

/**
 * What `make` gives, made only once for a pair of `from` and `by`; always made where nothing is shared.
 * @param from what it is made from
 * @param by what makes it
 */
export function once<T>(shared: Shared | undefined, from: object, by: object, make: () => Promise<T>): Promise<T> {
  if (!shared) return make();
  const known = shared.get(from) ?? new Map<object, Promise<unknown>>();
  shared.set(from, known);
  const made = (known.get(by) ?? make()) as Promise<T>;
  known.set(by, made);
  return made;
}
