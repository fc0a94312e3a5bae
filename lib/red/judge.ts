import type { Node, NodeAPI, NodeMessage, NodeStatusFill } from 'node-red';
import { GoodpartsError } from '../engine/errors';
import { regions } from '../engine/regions';
import { limitOf, type LimitRule } from '../engine/threshold';
import type { AnomalyMap, Calibration, ScoreResult } from '../engine';
import { mapOf, mapValues } from './map';
import { countVerdict } from './metrics/counts';
import { type Done, type Message, type Send } from './messages';
import type { Model } from './model';
import { watched } from './part-log';
import { nameOf, readProperty, writeProperty, type Property } from './property';
import { Status } from './status';

export type Verdict = 'ok' | 'review' | 'ng';

/** What anomaly-score said of one picture, and what follows from it. */
export type Judged = ScoreResult & {
  threshold: number;
  reviewThreshold?: number;
  verdict: Verdict;
  isAnomaly: boolean;
};

/** A limit from the scores of the good parts, or the threshold that a detector network brought along. */
export type JudgeRule = LimitRule | { method: 'own' };

export interface JudgeOptions {
  result: Property;
  /** a score above this is NG */
  limit: JudgeRule;
  /** a score above this, but not NG, is for a person to look at */
  review?: JudgeRule;
  /** an own pixel threshold; without one regions and damage stay as they are */
  pixels?: JudgeRule;
}

/** Limits that a message brings along; they win over the node's. */
interface OwnLimits {
  limit?: number;
  review?: number;
}

/** From best to worst, with the colour of each. */
const VERDICTS: Verdict[] = ['ok', 'review', 'ng'];
const FILLS: Record<Verdict, NodeStatusFill> = { ok: 'green', review: 'yellow', ng: 'red' };

/** A rule of the editor's two fields. @throws GoodpartsError `fit-settings` when the value does not suit the method */
export function ruleOf(method: JudgeRule['method'], value: number | undefined): JudgeRule {
  if (method === 'own') return { method };
  if (value !== undefined && (method !== 'percentile' || (value >= 0 && value <= 100))) return { method, value };
  const needed = method === 'percentile' ? 'a percentile from 0 to 100' : 'a number';
  throw new GoodpartsError('fit-settings', `The ${method} limit of the threshold needs ${needed}.`);
}

/** The work of a threshold node: tells OK, REVIEW and NG apart by the scores that the good images had. */
export class Judge {
  private readonly status: Status;
  private readonly counts: Record<Verdict, number> = { ok: 0, review: 0, ng: 0 };
  private judging: Promise<void> = Promise.resolve();

  /** @param model where the good images' scores are, and the log of parts; rules that are all fixed need none */
  constructor(
    private readonly RED: NodeAPI,
    private readonly node: Node,
    private readonly model: Model | undefined,
    private readonly options: JudgeOptions
  ) {
    this.status = new Status(node, RED._);
    if (model?.partLogMissing) this.status.key('yellow', 'ring', 'nolog');
  }

  /** Takes a message; it leaves on the output of its worst verdict, or through `done(error)`. */
  input(msg: Message, send: Send, whenDone: Done): void {
    const done = watched(this.node, msg, this.model?.partLog, whenDone);
    // one after the other: scores of a new version are read from disk, and messages must not overtake each other
    this.judging = this.judging
      .then(() => this.judge(msg))
      .then(verdict => {
        this.counts[verdict]++;
        this.status.key(FILLS[verdict], 'dot', verdict, { count: this.counts[verdict] });
        send(this.outputs.map(output => (output === verdict ? msg : null)));
        done();
      })
      .catch((error: Error) => {
        this.status.key('red', 'ring', 'error');
        done(error);
      });
  }

  close(): void {
    this.status.close();
  }

  private get outputs(): Verdict[] {
    return this.options.review ? VERDICTS : ['ok', 'ng'];
  }

  private async judge(msg: NodeMessage): Promise<Verdict> {
    const { result, pixels } = this.options;
    const value = await readProperty(this.RED, this.node, result, msg);
    const many = Array.isArray(value);
    const results = (many ? value : [value]).map(one => resultOf(one, nameOf(result)));
    if (results.length === 0) throw new GoodpartsError('input-missing', `${nameOf(result)} is an empty array.`);
    const own = { limit: ownLimit(msg, 'threshold'), review: ownLimit(msg, 'reviewThreshold') };
    const judged = await Promise.all(results.map(one => this.judgeOne(one, own)));
    if (pixels) await this.judgePixels(msg, judged, many);
    await writeProperty(this.RED, this.node, result, msg, many ? judged : judged[0]);
    for (const [i, one] of judged.entries()) this.note(msg, one, many ? i : undefined);
    return VERDICTS.findLast(verdict => judged.some(one => one.verdict === verdict))!;
  }

  /** Counts a verdict, and writes it to the log of parts. */
  private note(msg: NodeMessage, judged: Judged, picture?: number): void {
    const { detector, score, threshold, verdict, timing } = judged;
    countVerdict(detector?.name, verdict);
    this.model?.partLog?.part(this.node, msg, {
      ...(detector && { detector: `${detector.name}@${detector.version}` }),
      score,
      threshold,
      verdict,
      ms: timing?.total,
      picture
    });
  }

  private async judgeOne(result: ScoreResult, own: OwnLimits): Promise<Judged> {
    const { limit, review } = this.options;
    const threshold = own.limit ?? (await this.limit(limit, result, 'scores'));
    const drawn = review && (own.review ?? (await this.limit(review, result, 'scores')));
    // a limit of the message may lie below the one for REVIEW: then there is nothing between them
    const reviewThreshold = drawn && Math.min(drawn, threshold);
    const { score } = result;
    const suspicious = reviewThreshold !== undefined && score > reviewThreshold;
    const verdict = score > threshold ? 'ng' : suspicious ? 'review' : 'ok';
    const limits = review ? { threshold, reviewThreshold } : { threshold };
    return { ...result, ...limits, verdict, isAnomaly: verdict === 'ng' };
  }

  /** Regions and damage by the node's own pixel threshold, which goes into a copy of the map for those who draw it. */
  private async judgePixels(msg: NodeMessage, judged: Judged[], many: boolean): Promise<void> {
    const values = many && Array.isArray(msg.anomalyMap) ? (msg.anomalyMap as unknown[]) : [msg.anomalyMap];
    const maps: AnomalyMap[] = [];
    for (const [i, result] of judged.entries()) {
      const map = mapOf(values[i], 'An own pixel threshold');
      const threshold = await this.limit(this.options.pixels!, result, 'mapMaxima');
      const { width: imageWidth, height: imageHeight } = result.image ?? map;
      Object.assign(result, regions(mapValues(map), map.width, map.height, threshold, { imageWidth, imageHeight }));
      maps.push({ ...map, threshold });
    }
    msg.anomalyMap = many ? maps : maps[0];
  }

  private async limit(rule: JudgeRule, result: ScoreResult, of: 'scores' | 'mapMaxima'): Promise<number> {
    if (rule.method === 'fixed') return rule.value;
    const calibration = await this.calibration(result);
    if (rule.method !== 'own') return limitOf(rule, calibration[of]);
    const own = calibration.own?.[of === 'scores' ? 'score' : 'map'];
    if (own !== undefined) return own;
    throw new GoodpartsError(
      'calibration-missing',
      `The detector ${result.detector.name} ${result.detector.version} has no threshold of its own; choose a percentile of the good parts.`
    );
  }

  private async calibration({ detector }: ScoreResult): Promise<Calibration> {
    if (!this.model)
      throw new GoodpartsError(
        'input-missing',
        'No anomaly-model is selected: it has the scores of the good images. Select one, or use fixed limits.'
      );
    if (typeof detector?.name === 'string' && typeof detector.version === 'string')
      return this.model.calibration(detector.name, detector.version);
    throw new GoodpartsError(
      'input-missing',
      'The message does not say which detector scored it (detector.name and detector.version), as anomaly-score does.'
    );
  }
}

/** @throws GoodpartsError `input-missing` for a limit that is no number: to go on with another one would be a wrong verdict */
function ownLimit(msg: NodeMessage, name: 'threshold' | 'reviewThreshold'): number | undefined {
  const value = (msg as Record<string, unknown>)[name];
  if (value === undefined || Number.isFinite(value)) return value as number | undefined;
  throw new GoodpartsError(
    'input-missing',
    `msg.${name} must be a number (a score), or absent for the node's own limit.`
  );
}

/** @throws GoodpartsError `input-missing` when there is no score to judge */
function resultOf(value: unknown, name: string): ScoreResult {
  const result = value as ScoreResult | null | undefined;
  if (typeof result === 'object' && Number.isFinite(result?.score)) return result!;
  throw new GoodpartsError(
    'input-missing',
    `${name} holds no score: wire the output of anomaly-score to the threshold, or name the property with its result.`
  );
}
