// What the function nodes of http-patchcore-kafka.json do; see ../functions.mjs.

/** What was being built when the flow was stopped is not any more. */
export function routeStart({ flow }) {
  flow.set('fitting', {});
}

/** /predict: a picture to the score; /build: the pictures of a class's folder to the fit, in one message; /stream_predict: to the others who listen. */
export function route(msg, { node, env, flow, fs, path }) {
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  const { pictures, fields } = msg;
  const { path: address } = msg.req.route;
  if (address.endsWith('/stream_predict')) return [null, null, msg];
  const { cls, backbone_key: backbone } = fields;
  const named = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(cls ?? '');
  if (!address.endsWith('/build')) {
    if (pictures.length !== 1) return refuse('input-missing', 'Send a form with one picture in "file".');
    // * is the detector that is nearest to the picture
    msg.recipe = cls || '*';
    msg.payload = pictures[0];
    return [msg, null];
  }
  if (!named)
    return refuse('name-invalid', 'Send {"cls": "bottle"}: 1 to 64 letters, digits, dots, dashes and underscores.');
  const home = env.get('GOODPARTS_DATASETS');
  if (!home)
    throw new Error('Set the environment variable GOODPARTS_DATASETS to a folder with a folder for each class.');
  const folder = path.join(home, cls, 'train', 'good');
  if (!fs.existsSync(folder))
    return refuse('class-unknown', `There is no folder ${cls}/train/good among the data sets.`);
  const files = fs.readdirSync(folder).filter(name => /^[^.].*\.(png|jpe?g|tiff?|webp)$/i.test(name));
  if (files.length === 0) return refuse('fit-no-images', `There are no pictures in ${cls}/train/good.`);
  const fitting = flow.get('fitting') || {};
  if (fitting[cls]) return refuse('fit-busy', `${cls} is being built; try again when that is done.`);
  flow.set('fitting', { ...fitting, [cls]: true });
  Object.assign(msg, { recipe: cls, backbone, complete: true, fitting: true });
  msg.payload = files.sort().map(name => path.join(folder, name));
  return [null, msg];
}

/** What a client of /predict reads. */
export function answer(msg) {
  const { score, threshold, isAnomaly, damage, detector, product } = msg.payload;
  const unknown = product?.name === null;
  msg.payload = {
    cls: unknown ? 'unknown product' : detector.name,
    score,
    threshold,
    is_anomaly: isAnomaly || unknown,
    damage,
    heatmap: msg.heatmap.toString('base64'),
    processing_time_ms: Date.now() - msg.began
  };
  return msg;
}

/** The detector is fitted and in use. */
export function built(msg, { flow }) {
  flow.set('fitting', { ...flow.get('fitting'), [msg.recipe]: false });
  const { name, version, images, bankSize } = msg.payload;
  const seconds = (Date.now() - msg.began) / 1000;
  msg.payload = {
    status: 'built',
    cls: name,
    backbone_key: msg.backbone || 'embedded',
    version,
    images,
    bank_size: bankSize,
    seconds
  };
  return msg;
}

/** What a fit that failed has taken in is forgotten, so that the next one starts anew. */
export function giveUp(msg, { flow }) {
  if (!msg.fitting) return null;
  flow.set('fitting', { ...flow.get('fitting'), [msg.recipe]: false });
  return { reset: true, recipe: msg.recipe };
}

/**
 * Verdicts of the topic to everybody who listens. A listener that reads more slowly than the verdicts come misses some, and is told how many:
 * what waits for one is at most 256 KB.
 */
export function stream(msg, { node, env, setInterval }) {
  const most = { waiting: 256 * 1024, clients: Number(env.get('GOODPARTS_MAX_STREAMS')) || 100 };
  // of this node until the next deploy: connections are nothing for a context store
  const clients = (globalThis.clients ??= new Map());
  const count = () => node.status({ fill: 'green', shape: 'dot', text: `${clients.size} listening` });
  // a comment tells proxies that the line is in use, and finds those who went away without a word
  globalThis.beat ??= setInterval(() => clients.forEach((_, client) => client.write(': beat\n\n')), 15000);
  if (msg.res) {
    const client = msg.res._res;
    if (clients.size >= most.clients)
      return void node.error(Object.assign(new Error('Too many listen already.'), { code: 'streams-full' }), msg);
    client.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no'
    });
    client.write(': verdicts follow\n\n');
    clients.set(client, { skipped: 0 });
    client.on('close', () => {
      clients.delete(client);
      count();
    });
    count();
    return null;
  }
  // what the Kafka node gives: the message's bytes, JSON of the producer
  const event = `data: ${String(msg.payload.value).replace(/[\r\n]+/g, ' ')}\n\n`;
  for (const [client, state] of clients) {
    if (client.writableLength > most.waiting) {
      state.skipped++;
      continue;
    }
    if (state.skipped > 0) client.write(`event: skipped\ndata: {"skipped": ${state.skipped}}\n\n`);
    state.skipped = 0;
    client.write(event);
  }
  return null;
}

/** Those who listen connect again by themselves. */
export function streamStop() {
  globalThis.clients?.forEach((_, client) => client.end());
}
