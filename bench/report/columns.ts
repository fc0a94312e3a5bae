/** Keys of the rows of each section, in the order of the table, and what they are called there. */
export const COLUMNS: Record<string, Record<string, string>> = {
  score: {
    backbone: 'backbone',
    system: 'system',
    ms: 'ms a picture',
    backboneMs: 'of it backbone',
    searchMs: 'of it search',
    bank: 'bank, patches',
    results: 'results against torch'
  },
  search: {
    dimensions: 'dimensions',
    bank: 'bank, patches',
    queries: 'patches',
    system: 'system',
    ms: 'ms',
    recall: 'nearest found',
    scoreError: 'image score, largest relative error'
  },
  backbone: {
    backbone: 'backbone',
    gigaMacs: 'multiply-adds, 10^9',
    ms: 'ms a picture',
    gigaFlops: 'GFLOP/s',
    matMulGigaFlops: 'MatMul, GFLOP/s',
    share: 'share of it, %',
    int8Ms: 'in 8 bits, ms'
  },
  fit: {
    backbone: 'backbone',
    images: 'pictures',
    system: 'system',
    seconds: 's',
    imagesSeconds: 'pictures, s',
    coresetSeconds: 'coreset, s',
    calibrationSeconds: 'calibration, s',
    peakMb: 'peak, MB',
    bank: 'bank, patches',
    radius: 'covering radius',
    measured: 'measured'
  },
  growth: {
    images: 'pictures',
    size: 'px',
    seconds: 's',
    peakMb: 'peak, MB',
    bank: 'bank, patches',
    detectorMb: 'detector, MB',
    scoreMs: 'score, ms',
    radius: 'covering radius'
  },
  plan: {
    what: 'fit',
    images: 'pictures',
    seconds: 's',
    peakMb: 'peak, MB',
    detectorMb: 'detector, MB',
    scoreMs: 'score, ms'
  },
  banks: {
    bank: 'bank, patches',
    wholeMs: 'whole bank, ms',
    cellsMs: 'cells, ms',
    recall: 'nearest found',
    wholeAuroc: 'image AUROC, whole bank',
    cellsAuroc: 'image AUROC, cells',
    buildSeconds: 'built in, s',
    fileMb: 'files, MB'
  },
  nodeRed: {
    backbone: 'backbone',
    system: 'system',
    perSecond: 'pictures a second',
    share: 'share of the engine alone, %',
    cpuMs: 'processor, ms a picture',
    nodeRedCpuMs: 'of it Node-RED',
    delayP99: 'event loop late, 99 %, ms',
    delayMax: 'at most, ms'
  },
  start: { what: 'since the process was started', ms: 'ms' },
  soak: {
    minutes: 'minutes',
    scored: 'pictures',
    nodeRedMb: 'Node-RED, MB',
    engineMb: 'engine, MB',
    nodeRedMbAnHour: 'Node-RED, MB an hour',
    engineMbAnHour: 'engine, MB an hour'
  }
};
