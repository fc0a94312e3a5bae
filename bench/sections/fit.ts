// From good pictures to a detector: seconds and memory, ours and the peers'.
import { measurePeer, type BenchBackbone, type Context } from '../context';
import { fitApart, type FitRow } from '../fit-scale';
import type { PeerFit } from '../peers';
import type { Row, SectionResult } from '../result';
import { round, spread } from '../rounds';

/** Steps of the peers' greedy that are measured. */
const STEPS = 300;
const SYSTEMS = [
  ['anomalib', 'anomalib, torch'],
  ['faiss', 'patchcore-inspection, torch']
] as const;

export async function run(context: Context): Promise<SectionResult> {
  const rows: Row[] = [];
  const notes: string[] = [];
  for (const backbone of context.backbones) rows.push(...measure(context, backbone, notes));
  if (rows.some(row => row.measured))
    notes.push(
      'Peers: the greedy choice of the bank is measured for some steps, which are all alike, and extrapolated to all; the rest is measured whole.'
    );
  return { rows, notes };
}

function measure(context: Context, backbone: BenchBackbone, notes: string[]): Row[] {
  const { rounds, threads, quick, long } = context.options;
  const ours: FitRow[] = [];
  const peers = new Map<string, PeerFit[]>();
  // the peers take minutes a round
  const most = long ? rounds : Math.min(rounds, backbone.peer === 'wide_resnet50_2' ? 1 : 2);
  for (let i = 0; i < most; i++) {
    const images = context.pictures.length;
    ours.push(fitApart({ folder: context.jpegFolder, images, settings: { backbone: backbone.file }, threads }));
    for (const [peer, name] of backbone.peer && context.peers ? SYSTEMS : [])
      try {
        const greedySteps = quick ? 5 : STEPS;
        const { fit } = measurePeer(context, { peer, backbone: backbone.peer!, phases: ['fit'], greedySteps });
        peers.set(name, [...(peers.get(name) ?? []), fit!]);
      } catch (error) {
        notes.push(`${backbone.name}: ${(error as Error).message}`);
      }
  }
  return [ourRow(backbone.name, ours), ...[...peers].map(([name, fits]) => peerRow(backbone.name, name, fits))];
}

function ourRow(backbone: string, fits: FitRow[]): Row {
  const stage = (name: string) => spread(fits.map(fit => fit.stages[name] / 1000));
  return {
    backbone,
    images: fits[0].images,
    system: 'Goodparts',
    seconds: spread(fits.map(fit => fit.fitSeconds)),
    imagesSeconds: stage('images'),
    coresetSeconds: stage('coreset'),
    calibrationSeconds: stage('calibration'),
    peakMb: spread(fits.map(fit => fit.peakMb)),
    bank: fits[0].bankSize,
    radius: round(fits[0].radius)
  };
}

function peerRow(backbone: string, system: string, fits: PeerFit[]): Row {
  const [{ extrapolated, greedySteps, greedyStepsMeasured, radius }] = fits;
  return {
    backbone,
    system,
    seconds: spread(fits.map(fit => fit.seconds)),
    imagesSeconds: spread(fits.map(fit => fit.seconds - fit.greedySeconds)),
    coresetSeconds: spread(fits.map(fit => fit.greedySeconds)),
    peakMb: spread(fits.map(fit => fit.peakMb)),
    bank: greedySteps,
    radius,
    measured: extrapolated ? `${greedyStepsMeasured} of ${greedySteps} steps` : null
  };
}
