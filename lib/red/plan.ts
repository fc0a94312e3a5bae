import type { PlanRequest } from '../engine';
import { GoodpartsError } from '../engine/errors';

/**
 * What the editor wants to know of a fit: so many pictures of a size such as `1024 x 768`, or `1024`.
 * @throws GoodpartsError `fit-settings`
 */
export function planRequest(images: unknown, picture: unknown): Required<PlanRequest> {
  const count = Number(images);
  if (!Number.isInteger(count) || count < 1 || count > 1e7)
    throw new GoodpartsError('fit-settings', `The number of pictures must be a whole number from 1, not "${images}".`);
  const match = /^\s*(\d{2,5})(?:\s*[x×]\s*(\d{2,5}))?\s*$/i.exec(String(picture));
  if (!match)
    throw new GoodpartsError('fit-settings', `The size of the pictures must be like 1024 x 768, not "${picture}".`);
  return { images: count, picture: { width: Number(match[1]), height: Number(match[2] ?? match[1]) } };
}
