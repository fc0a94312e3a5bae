import { GoodpartsError } from './errors';

/** Until when images are worth scoring. */
export interface Urgency {
  /** when the answer for each image is too late, milliseconds since 1970, in the order of the images; 0: never */
  deadlines?: number[];
  /** ends the call: the images that are not scored yet come back with the error `score-cancelled` */
  signal?: AbortSignal;
}

/** Why an image is not to be scored any more; undefined as long as it is. */
export function refusal({ deadlines, signal }: Urgency, index: number): GoodpartsError | undefined {
  if (signal?.aborted) return cancelled();
  const deadline = deadlines?.[index];
  return deadline && Date.now() >= deadline ? deadlineMissed(deadline) : undefined;
}

/** @param deadline milliseconds since 1970 */
export function deadlineMissed(deadline: number): GoodpartsError {
  const late = Math.max(0, Math.round(Date.now() - deadline));
  return new GoodpartsError(
    'deadline-missed',
    `The image was not scored in time: its deadline passed ${late} ms ago. Send images more slowly, or allow more time.`,
    { late }
  );
}

export const cancelled = (): GoodpartsError =>
  new GoodpartsError('score-cancelled', 'The image was taken back, by a deploy or by msg.reset, before it was scored.');
