// What the function nodes of mlflow.json do; see functions.mjs. The requests are those of MLflow's REST API, version 2.0. An HTTP request
// node takes only a missing answer for an error, so each function looks at the status of the answer before it.

/** Good and defective parts that the fit did not see, for the evaluation; msg.truth says which are which. */
export function testParts(msg, { Buffer, node }) {
  const size = 96;
  const draw = bad => {
    const data = Buffer.alloc(size * size * 3);
    const [left, top] = [0, 0].map(() => size * (0.49 + Math.random() * 0.02));
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const away = Math.hypot(x - left, y - top) / size;
        const spot = bad && x > size * 0.4 && x < size * 0.62 && y > size * 0.2 && y < size * 0.42;
        const grey = (spot ? 10 : away < 0.12 ? 90 : away < 0.35 ? 200 : 110) + Math.random() * 10;
        data.fill(grey, (y * size + x) * 3, (y * size + x) * 3 + 3);
      }
    return { data, width: size, height: size, channels: 3 };
  };
  node.status({ text: `${msg.payload.name} ${msg.payload.version}` });
  const truth = Array.from({ length: 20 }, (_, i) => i % 2 === 1);
  return { fit: msg.payload, recipe: msg.payload.name, truth, payload: truth.map(draw) };
}

/** Figures of the test parts: AUROC, the share of good parts that would be rejected, and of defective ones that would be found. */
export function evaluate(msg) {
  const { truth, payload: results } = msg;
  const good = results.filter((_, i) => !truth[i]);
  const bad = results.filter((_, i) => truth[i]);
  let wins = 0;
  for (const { score } of bad)
    for (const other of good) wins += score > other.score ? 1 : score === other.score ? 0.5 : 0;
  const share = part => part.filter(({ verdict }) => verdict === 'ng').length / part.length;
  msg.evaluation = {
    image_auroc: wins / (good.length * bad.length),
    false_reject_rate: share(good),
    detection_rate: share(bad),
    test_images: results.length,
    threshold: results[0].threshold
  };
  return msg;
}

/** What goes into the run: the fit's settings as parameters, its figures and those of the evaluation as metrics. */
export function fitReport(msg) {
  const { name, version, images, patches, bankSize, radius, calibration, device, timing, settings } = msg.fit;
  const { scores, method } = calibration;
  const seconds = Object.entries(timing).map(([stage, ms]) => [`fit_${stage}_seconds`, ms / 1000]);
  msg.report = {
    run: `${name} ${version}`,
    params: { ...settings, images, device: device.used, calibration: method },
    metrics: {
      patches,
      bank_size: bankSize,
      radius,
      good_score_median: scores[Math.floor(scores.length / 2)],
      good_score_max: scores[scores.length - 1],
      ...Object.fromEntries(seconds),
      ...msg.evaluation
    },
    // the good parts' scores, lowest first, as a curve
    curves: { good_score: scores.slice(0, 500) },
    tags: { detector: name, version }
  };
  return msg;
}

/** The figures of `goodparts evaluate <folder> --json`, sent here by HTTP: numbers are metrics, texts are parameters. */
export function evaluationReport(msg, { node }) {
  const figures = Object.entries(typeof msg.payload === 'object' && msg.payload ? msg.payload : {});
  const of = type => Object.fromEntries(figures.filter(([, value]) => typeof value === type));
  const [metrics, params] = [of('number'), of('string')];
  if (Object.keys(metrics).length === 0) {
    Object.assign(msg, {
      statusCode: 400,
      payload: { error: 'Send the figures as JSON, as goodparts evaluate --json does.' }
    });
    return [null, msg];
  }
  node.status({ text: new Date().toLocaleTimeString() });
  msg.report = {
    run: `evaluation ${msg.req.query.name || ''}`.trim(),
    params,
    metrics,
    curves: {},
    tags: { kind: 'evaluation' }
  };
  return [msg, null];
}

/** Asks for the experiment by its name. */
export function findExperiment(msg, { env }) {
  const name = env.get('MLFLOW_EXPERIMENT') || 'goodparts';
  const server = (env.get('MLFLOW_URL') || 'http://127.0.0.1:5000').replace(/\/$/, '');
  // a token or a password for the server goes into msg.headers here
  msg.headers = { 'content-type': 'application/json' };
  msg.requestTimeout = 10000;
  msg.mlflow = { api: `${server}/api/2.0/mlflow`, experiment: name };
  msg.url = `${msg.mlflow.api}/experiments/search`;
  msg.payload = { filter: `name = '${name.replace(/'/g, '')}'`, max_results: 1 };
  return msg;
}

/** First output: make the experiment, for it is not there; second: it is. */
export function isItThere(msg, { node }) {
  if (msg.statusCode >= 300) return void node.error(`MLflow answers ${msg.statusCode}: ${msg.payload?.message}`, msg);
  const [found] = msg.payload.experiments || [];
  msg.headers = { 'content-type': 'application/json' };
  if (found) {
    msg.payload = { experiment_id: found.experiment_id };
    return [null, msg];
  }
  msg.url = `${msg.mlflow.api}/experiments/create`;
  msg.payload = { name: msg.mlflow.experiment };
  return [msg, null];
}

/** Begins a run in the experiment. */
export function beginRun(msg, { node }) {
  if (msg.statusCode >= 300) return void node.error(`MLflow answers ${msg.statusCode}: ${msg.payload?.message}`, msg);
  const { run, tags } = msg.report;
  msg.headers = { 'content-type': 'application/json' };
  msg.url = `${msg.mlflow.api}/runs/create`;
  msg.payload = {
    experiment_id: msg.payload.experiment_id,
    run_name: run,
    start_time: Date.now(),
    tags: Object.entries(tags).map(([key, value]) => ({ key, value: String(value) }))
  };
  return msg;
}

/** Logs parameters and metrics in one request. */
export function logTheReport(msg, { node }) {
  if (msg.statusCode >= 300) return void node.error(`MLflow answers ${msg.statusCode}: ${msg.payload?.message}`, msg);
  const { params, metrics, curves } = msg.report;
  const timestamp = Date.now();
  const finite = ([, value]) => Number.isFinite(value);
  const points = Object.entries(curves).flatMap(([key, values]) =>
    values.map((value, step) => ({ key, value, timestamp, step }))
  );
  msg.mlflow.run = msg.payload.run.info.run_id;
  msg.headers = { 'content-type': 'application/json' };
  msg.url = `${msg.mlflow.api}/runs/log-batch`;
  msg.payload = {
    run_id: msg.mlflow.run,
    params: Object.entries(params).map(([key, value]) => ({ key, value: String(value).slice(0, 500) })),
    metrics: [
      ...Object.entries(metrics)
        .filter(finite)
        .map(([key, value]) => ({ key, value, timestamp, step: 0 })),
      ...points
    ]
  };
  return msg;
}

/** Ends the run. */
export function finishRun(msg, { node }) {
  if (msg.statusCode >= 300) return void node.error(`MLflow answers ${msg.statusCode}: ${msg.payload?.message}`, msg);
  msg.headers = { 'content-type': 'application/json' };
  msg.url = `${msg.mlflow.api}/runs/update`;
  msg.payload = { run_id: msg.mlflow.run, status: 'FINISHED', end_time: Date.now() };
  return msg;
}

/** Answers whoever sent the figures, and shows the run. */
export function reported(msg, { node }) {
  if (msg.statusCode >= 300) return void node.error(`MLflow answers ${msg.statusCode}: ${msg.payload?.message}`, msg);
  const { run, experiment } = msg.mlflow;
  node.status({ fill: 'green', shape: 'dot', text: msg.report.run });
  const answer = { ...msg, payload: { experiment, run, name: msg.report.run }, statusCode: 200, headers: {} };
  return msg.res ? [answer, answer] : [answer, null];
}

/** An error of the server is answered to whoever sent figures; the fit itself is done and stored in any case. */
export function toTheSender(msg) {
  if (!msg.res) return null;
  const { statusCode, error } = msg;
  msg.payload = { error: error.message, status: statusCode };
  msg.statusCode = 502;
  msg.headers = {};
  return msg;
}
