// What the function nodes of dashboard.json do; see functions.mjs. All of them share the flow's `line`: what is known of
// the line now. `begin` finds or makes it, `show` sends it to the widgets and saves what is worth it.

/** At the start: where things lie, what was known before, and sample parts where there is no folder of pictures. */
export async function begin(msg, { flow, env, node, fs, path, os, process, child_process }) {
  const [, given] = process.argv.join('\n').match(/^(?:-u|--userDir)[\n=](.+)$/m) || [];
  const userDir = path.resolve(given || path.join(os.homedir(), '.node-red'));
  const home = path.resolve(env.get('GOODPARTS_DASHBOARD') || path.join(userDir, 'goodparts-dashboard'));
  for (const folder of ['good', 'ng']) fs.mkdirSync(path.join(home, folder), { recursive: true });
  const place = path.join(home, 'line.json');
  const saved = fs.existsSync(place) ? JSON.parse(fs.readFileSync(place, 'utf8')) : {};
  const store = path.join(userDir, 'goodparts', 'dashboard');
  const fresh = { n: 0, counts: { ok: 0, review: 0, ng: 0, missed: 0 }, since: Date.now(), recent: [], ng: [] };
  const line = { ...fresh, ...saved, home, store, drawing: 0, results: {}, times: [], began: Date.now() };
  line.ready = fs.existsSync(path.join(store, 'current'));
  flow.set('line', line);
  const data = env.get('GOODPARTS_DATA') || path.join(home, 'sample');
  if (!fs.existsSync(data) && !env.get('GOODPARTS_DATA')) {
    line.preparing = true;
    node.send({ payload: 'preparing' });
    const cli = path.join(userDir, 'node_modules/@goodparts/node-red-anomaly/dist/cli/goodparts.js');
    await new Promise((resolve, reject) =>
      child_process.execFile(process.execPath, [cli, 'sample', data, '--size', '480'], error =>
        error ? reject(new Error(`No sample parts could be drawn: ${error.message}`)) : resolve()
      )
    );
    line.preparing = false;
  }
  const list = sub => (fs.existsSync(path.join(data, sub)) ? fs.readdirSync(path.join(data, sub)).sort() : []);
  const pictures = sub =>
    list(sub)
      .filter(name => /\.(png|jpe?g|tiff?|webp)$/i.test(name))
      .map(name => path.join(data, sub, name));
  line.train = pictures(path.join('train', 'good'));
  line.tests = list('test').flatMap(truth => pictures(path.join('test', truth)).map(file => ({ file, truth })));
  return { payload: 'begun' };
}

/**
 * The camera of this example: the next test picture, in random order, as bytes with the id of the part. On a line most parts
 * are good, so good ones come in between.
 */
export async function nextPart(msg, { flow, fs, context }) {
  const line = flow.get('line');
  if (!line || !line.ready || !line.tests || line.tests.length === 0) return null;
  let pass = context.get('pass') || [];
  if (pass.length === 0) pass = line.tests.map((_, i) => [Math.random(), i]).sort((a, b) => a[0] - b[0]);
  const good = line.tests.filter(test => test.truth === 'good');
  const between = good.length > 0 && line.tests[pass.at(-1)[1]].truth !== 'good' && Math.random() < 0.75;
  const { file, truth } = between ? good[Math.floor(Math.random() * good.length)] : line.tests[pass.pop()[1]];
  context.set('pass', pass);
  const serial = (context.get('serial') || line.n) + 1;
  context.set('serial', serial);
  return { payload: await fs.promises.readFile(file), part: `FL-${10000 + serial}`, file, truth };
}

/**
 * The limits that a person set hold for the version they were set for; else those of the threshold node. Second output: what
 * anomaly-score says of the engine.
 */
export function limitsByHand(msg, { flow }) {
  if (msg.health) return [null, msg];
  const { byHand } = flow.get('line') || {};
  const { name, version } = msg.payload.detector;
  if (byHand && byHand.detector === `${name} ${version}`) {
    msg.threshold = byHand.ng;
    msg.reviewThreshold = byHand.review;
  }
  return [msg, null];
}

/** How the engine is, in short: device, state, parts that wait, memory of Node-RED and its engine processes together. */
export function health(msg, { flow }) {
  const line = flow.get('line');
  const { nodeRed, engines, queues } = msg.payload;
  const [engine = {}] = [...engines].sort((a, b) => Number(b.state === 'ready') - Number(a.state === 'ready'));
  const bytes = [nodeRed, ...engines.map(one => one.usage)].reduce((sum, one) => sum + (one ? one.memoryBytes : 0), 0);
  const busy = line.last && Date.now() - line.last.at < 10_000;
  line.engine = {
    device: engine.used || line.engine?.device,
    state: engine.state === 'ready' ? 'running' : engine.state === 'starting' ? 'starting' : busy ? 'stopped' : 'idle',
    queue: queues.reduce((sum, one) => sum + one.waiting, 0),
    memory: Math.round(bytes / 2 ** 20)
  };
  return { payload: 'health' };
}

/** Counts a part. First output: parts to be drawn (every rejected one, others at most two a second); second: to show. */
export async function tally(msg, { flow, fs, path }) {
  const line = flow.get('line');
  const { score, verdict, threshold, reviewThreshold, detector, timing } = msg.payload;
  const at = Date.now();
  const known = `${detector.name} ${detector.version}`;
  if (!line.detector || line.detector.known !== known) {
    const place = path.join(line.store, detector.version, 'detector.json');
    const { calibration, images } = JSON.parse(await fs.promises.readFile(place, 'utf8'));
    line.detector = { known, version: detector.version, images, scores: calibration.scores };
  }
  // the scores of another version cannot be compared with those of this one
  if (line.known !== known) Object.assign(line, { known, recent: [], results: {} });
  line.n++;
  line.counts[verdict]++;
  line.limit = { ng: threshold, review: reviewThreshold };
  line.last = { n: line.n, part: String(msg.part ?? line.n), score, verdict, limit: threshold, at };
  line.recent = [...line.recent, { score: Number(score.toPrecision(4)), verdict }].slice(-1000);
  line.times = [...line.times, timing.total].slice(-50);
  line.error = null;
  if (msg.truth) line.results[msg.file] = { score, bad: msg.truth !== 'good', ng: verdict === 'ng' };
  msg.shown = line.last;
  // no more than the gallery holds, and no more than a person sees
  const draw = verdict === 'ng' ? line.drawing < 24 : line.drawing === 0 && at - (line.drawn || 0) >= 400;
  if (draw) {
    line.drawing++;
    line.drawn = at;
  }
  return [draw ? msg : null, { payload: 'tally' }];
}

/**
 * Keeps what was drawn: the last one in memory; rejected ones as files, with the original picture beside, the last 24.
 * Raw pixels go once through the second output, which makes an exact PNG of them.
 */
export async function keepPictures(msg, { flow, fs, path }) {
  const line = flow.get('line');
  const { shown } = msg;
  const raw = !ArrayBuffer.isView(msg.image);
  if (shown.verdict === 'ng' && raw && !msg.exact) return [null, msg];
  line.drawing = Math.max(0, line.drawing - 1);
  flow.set('live', { n: shown.n, picture: msg.picture, overlay: msg.overlay });
  line.shown = shown;
  if (shown.verdict !== 'ng') return [{ payload: 'picture' }, null];
  const id = `${shown.at.toString(36)}-${shown.n}`;
  const original = raw ? msg.exact : Buffer.from(msg.image);
  const place = name => path.join(line.home, 'ng', name);
  const file = `${id}.${original[0] === 0xff ? 'jpg' : original[0] === 0x89 ? 'png' : 'tif'}`;
  await fs.promises.writeFile(place(file), original);
  await fs.promises.writeFile(place(`${id}.overlay.jpg`), msg.overlay);
  line.ng.unshift({ id, file, part: shown.part, score: shown.score, at: shown.at });
  for (const old of line.ng.splice(24))
    for (const name of [old.file, `${old.id}.overlay.jpg`]) await fs.promises.rm(place(name), { force: true });
  return [{ payload: 'picture' }, null];
}

/** What was not scored, and why. */
export function failed(msg, { flow }) {
  const line = flow.get('line');
  if (!line) return null;
  if (msg.shown) line.drawing = Math.max(0, line.drawing - 1);
  else if (msg.part !== undefined) line.counts.missed++;
  // one picture that cannot be read does not end the fit
  if (msg.fit && msg.complete) line.fit = null;
  line.preparing = false;
  line.error = msg.error ? msg.error.message.replace(/^\w*Error: /, '') : null;
  return { payload: 'failed' };
}

/** The buttons. First output: to anomaly-fit; second: to show. */
export async function button(msg, { flow, fs, path }) {
  const line = flow.get('line');
  const show = { payload: 'button' };
  const good = path.join(line.home, 'good');
  const { button: pressed, value } = msg.payload;
  if (pressed === 'fit' && !line.fit) {
    const kept = fs.readdirSync(good).map(name => path.join(good, name));
    const pictures = [...(line.train || []), ...kept];
    line.fit = { stage: 'images', done: 0, total: pictures.length };
    return [
      [
        { payload: pictures, fit: true },
        { payload: [], complete: true, fit: true }
      ],
      show
    ];
  }
  if (pressed === 'stop') {
    line.fit = null;
    return [{ reset: true, fit: true }, show];
  }
  if (pressed === 'limit') {
    const { ng, review } = value || {};
    const right = Number.isFinite(ng) && line.detector;
    line.byHand = right ? { detector: line.detector.known, ng, review: Math.min(review ?? ng, ng) } : null;
    if (right) line.limit = { ng, review: line.byHand.review };
  }
  if (pressed === 'anew') Object.assign(line, { counts: { ok: 0, review: 0, ng: 0, missed: 0 }, since: Date.now() });
  const entry = pressed === 'good' && line.ng.find(one => one.id === value);
  if (entry) {
    const copy = path.join(good, entry.file);
    entry.good = !entry.good;
    if (entry.good) await fs.promises.copyFile(path.join(line.home, 'ng', entry.file), copy);
    else await fs.promises.rm(copy, { force: true });
    // a good set that grows for ever would make every fit longer: the oldest corrections leave
    const names = fs.readdirSync(good).sort();
    for (const name of names.slice(0, Math.max(0, names.length - 200))) fs.rmSync(path.join(good, name));
  }
  return [null, show];
}

/** Progress of the fit, and its end. */
export function fitGoesOn(msg, { flow }) {
  const line = flow.get('line');
  const { stage, done, total, version } = msg.payload;
  if (version) Object.assign(line, { fit: null, ready: true, byHand: null, fittedAt: Date.now(), error: null });
  // the engine cannot know how many pictures are still to come
  else if (line.fit) line.fit = { stage, done, total: stage === 'images' ? line.fit.total : total };
  return { payload: 'fit' };
}

/** The pictures of the page: the live one from memory, the rejected ones from their files. */
export async function picture(msg, { flow, fs, path }) {
  const { kind, name } = msg.req.params;
  const line = flow.get('line');
  const live = flow.get('live');
  msg.headers = { 'content-type': 'image/jpeg', 'cache-control': 'private, max-age=86400, immutable' };
  msg.payload = kind === 'ng' ? undefined : live && live[kind];
  // one who asks late gets the newest, and must not keep it under the older name
  if (kind !== 'ng' && live && name !== String(live.n)) msg.headers['cache-control'] = 'no-store';
  if (kind === 'ng' && line && line.ng.some(one => one.id === name))
    msg.payload = await fs.promises.readFile(path.join(line.home, 'ng', `${name}.overlay.jpg`)).catch(() => undefined);
  if (!msg.payload) Object.assign(msg, { statusCode: 404, headers: {}, payload: 'There is no such picture.' });
  return msg;
}
