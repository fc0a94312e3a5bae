// What the function nodes of flows.json do. `node scripts/build-examples.mjs` puts the body of each into the function
// node of that name; the second parameter names what Node-RED's function node offers to the code.

/** Starts the page's state anew, and sends every good picture to anomaly-fit, the end marked by msg.complete. */
export function fitAll(msg, { node, flow, env, fs, path }) {
  const folder = env.get('GOODPARTS_DATA');
  if (!folder) throw new Error('Set the environment variable GOODPARTS_DATA to a folder in MVTec layout.');
  const list = sub => {
    const place = path.join(folder, sub);
    if (!fs.existsSync(place)) throw new Error(`${folder} is not in MVTec layout: ${sub} is missing.`);
    return fs.readdirSync(place).filter(name => !name.startsWith('.'));
  };
  const pictures = sub =>
    list(sub)
      .filter(name => /\.(png|jpe?g|bmp|tiff?|webp)$/i.test(name))
      .map(name => path.join(folder, sub, name));
  const good = pictures(path.join('train', 'good'));
  if (good.length === 0) throw new Error(`There are no pictures in ${folder}/train/good.`);
  const demo = msg.topic === 'start' ? {} : flow.get('demo') || {};
  if (demo.fit) return null;
  if (msg.topic === 'start') flow.set('loop', (flow.get('loop') || 0) + 1);
  flow.set(
    'parts',
    list('test').flatMap(truth => pictures(path.join('test', truth)).map(file => ({ file, truth })))
  );
  Object.assign(demo, {
    product: path.basename(folder),
    fit: { stage: 'images', done: 0, total: good.length },
    sent: good.length,
    began: Date.now(),
    error: null,
    fitFailed: false
  });
  flow.set('demo', demo);
  node.status({ text: `${good.length} good parts` });
  return [[...good.map(payload => ({ payload })), { complete: true, payload: [] }], { payload: demo }];
}

/** Progress of the fit, for the page. */
export function progress(msg, { flow }) {
  const demo = flow.get('demo');
  const { stage, done, total } = msg.payload;
  // the engine cannot know how many pictures are still to come
  demo.fit = { stage, done, total: stage === 'images' ? demo.sent : total };
  return { payload: { fit: demo.fit } };
}

/** A detector is ready: the counting starts anew; the first one also starts the parts moving. */
export function fitted(msg, { flow }) {
  const demo = flow.get('demo');
  const { name, version, images, bankSize } = msg.payload;
  const first = !demo.detector;
  Object.assign(demo, {
    fit: null,
    detector: { name, version, images, sent: demo.sent, bankSize, seconds: (Date.now() - demo.began) / 1000 },
    counts: { ok: 0, review: 0, ng: 0 },
    confusion: null,
    auroc: null,
    trend: [],
    gallery: [],
    error: null,
    fitFailed: false
  });
  flow.set('results', {});
  flow.set('pass', []);
  return [{ payload: demo }, first ? { loop: flow.get('loop') } : null];
}

/** The next test picture: all of them in random order, then the same again. */
export function nextPart(msg, { node, flow, path }) {
  const demo = flow.get('demo');
  if (demo.paused || msg.loop !== flow.get('loop')) return null;
  let pass = flow.get('pass');
  if (pass.length === 0) {
    const shuffled = flow.get('parts').map(part => [Math.random(), part]);
    pass = shuffled.sort((a, b) => a[0] - b[0]).map(([, part]) => part);
  }
  const { file, truth } = pass.pop();
  flow.set('pass', pass);
  const part = `${truth}/${path.basename(file)}`;
  node.status({ text: part });
  return { payload: file, part, truth, loop: msg.loop };
}

/** Counts the verdict, compares it with the truth (the folder's name), and tells the page. */
export function tally(msg, { flow }) {
  if (msg.loop !== flow.get('loop')) return null;
  const demo = flow.get('demo');
  const { score, threshold, verdict, regions, timing } = msg.payload;
  const { part, truth } = msg;
  const results = flow.get('results');
  results[part] = { score, bad: truth !== 'good', ng: verdict === 'ng' };
  const all = Object.values(results);
  const count = (bad, ng) => all.filter(r => r.bad === bad && r.ng === ng).length;
  const good = all.filter(r => !r.bad);
  const bad = all.filter(r => r.bad);
  const wins = bad.flatMap(b => good.map(g => (b.score > g.score ? 1 : b.score === g.score ? 0.5 : 0)));
  demo.counts[verdict]++;
  demo.confusion = {
    hit: count(true, true),
    missed: count(true, false),
    alarm: count(false, true),
    pass: count(false, false)
  };
  demo.auroc = wins.length ? wins.reduce((sum, win) => sum + win) / wins.length : null;
  demo.trend = [...demo.trend, { score, verdict }].slice(-60);
  const total = demo.counts.ok + demo.counts.review + demo.counts.ng;
  const last = {
    n: total,
    part,
    truth,
    score,
    threshold,
    verdict,
    regions: regions.length,
    ms: timing.total,
    picture: msg.heatmap
  };
  demo.last = last;
  if (verdict === 'ng') demo.gallery = [last, ...demo.gallery].slice(0, 6);
  if (!demo.fitFailed) demo.error = null;
  // a person follows the first round; later it is a picture on the wall
  const delay = total <= flow.get('parts').length ? 1200 : 2500;
  return [{ payload: { ...demo, gallery: undefined } }, { delay, loop: msg.loop }];
}

/** Holds the parts, or lets them move again. */
export function pause(msg, { flow }) {
  const demo = flow.get('demo');
  demo.paused = !demo.paused;
  // a new number ends whatever is still on its way, so that there is one part at a time
  const loop = flow.get('loop') + 1;
  flow.set('loop', loop);
  return [{ payload: { paused: demo.paused } }, demo.paused || !demo.detector ? null : { loop }];
}

/** An error of any node: on the page, and after a wait the next part. */
export function failed(msg, { flow }) {
  const demo = flow.get('demo') || {};
  // the first error says why, those after it often only that; a part's goes with the next part, a fit's with the next fit
  if (!demo.error || (!msg.part && !demo.fitFailed)) demo.error = msg.error.message;
  if (!msg.part) Object.assign(demo, { fit: null, fitFailed: true });
  flow.set('demo', demo);
  return [{ payload: { error: demo.error, fit: demo.fit } }, msg.part ? { delay: 3000, loop: msg.loop } : null];
}
