/** What is answered within so many milliseconds; undefined where it takes longer, or fails. */
export function soon<T>(answer: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout;
  const late = new Promise<undefined>(resolve => (timer = setTimeout(() => resolve(undefined), ms)));
  return Promise.race([answer.catch(() => undefined), late]).finally(() => clearTimeout(timer));
}
