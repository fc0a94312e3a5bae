/** Every error that the engine raises on purpose. `code` is stable and is the key of the translated text in the nodes. */
export type ErrorCode =
  | 'image-empty'
  | 'image-unreadable'
  | 'image-format'
  | 'image-too-large'
  | 'image-pages'
  | 'image-raw'
  | 'image-align'
  | 'name-invalid'
  | 'detector-unknown'
  | 'detector-damaged'
  | 'detector-backbone'
  | 'detector-parity'
  | 'detector-kind'
  | 'fit-no-images'
  | 'fit-settings'
  | 'fit-precision'
  | 'fit-aborted'
  | 'fit-memory'
  | 'region-empty'
  | 'region-shape'
  | 'backbone-missing'
  | 'backbone-damaged'
  | 'backbone-download'
  | 'backbone-import'
  | 'backbone-in-use'
  | 'backbone-unreadable'
  | 'backbone-taps'
  | 'backbone-input'
  | 'backbone-operators'
  | 'backbone-size'
  | 'export-kind'
  | 'export-region'
  | 'export-operators'
  | 'export-too-large'
  | 'bundle-unreadable'
  | 'network-unknown'
  | 'network-output'
  | 'runtime-missing'
  | 'store-write'
  | 'engine-stopped'
  | 'engine-timeout'
  | 'queue-full'
  | 'deadline-missed'
  | 'score-cancelled'
  | 'path-forbidden'
  | 'path-missing'
  | 'input-missing'
  | 'calibration-missing';

/**
 * An error with a stable code and a message that says what happened and what to do.
 * `details` are plain JSON (they cross process borders).
 */
export class GoodpartsError extends Error {
  override readonly name = 'GoodpartsError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: Record<string, string | number | null> = {}
  ) {
    super(message);
  }

  /** Node-RED shows this text to people, who need the sentence and not the name of a class. */
  override toString(): string {
    return this.message;
  }
}
