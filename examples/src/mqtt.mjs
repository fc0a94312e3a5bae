// What the function nodes of mqtt.json do; see functions.mjs. The parts <name>Start are a node's code "On Start".

/** Finds what lay in the inbox when the node was stopped: it is inspected again. */
export function inboxStart({ context, env, fs, path, os }) {
  const folder = path.join(env.get('MQTT_FOLDER') || path.join(os.homedir(), 'goodparts-mqtt'), 'inbox');
  fs.mkdirSync(folder, { recursive: true });
  const names = fs.readdirSync(folder).filter(name => name.endsWith('.part'));
  const sizes = new Map(names.sort().map(name => [name, fs.statSync(path.join(folder, name)).size]));
  context.set('state', { folder, sizes, underWay: new Set(), count: 0 });
}

/**
 * Keeps each message of the camera on the disk until its verdict or its rejection is in the outbox, and hands on two at a time, the
 * oldest first. The MQTT node tells the broker at once that it has a message, so from there on this file is all there is of it.
 * Messages in: what the camera sends (a Buffer); msg.answered, the name of a file that is done with; a tick.
 */
export function inbox(msg, { node, context, flow, env, fs, path, Buffer }) {
  const { folder, sizes, underWay } = context.get('state');
  const state = context.get('state');
  const refuse = (code, text) => node.error(Object.assign(new Error(text), { code }), msg);
  if (msg.answered) {
    fs.rmSync(path.join(folder, msg.answered), { force: true });
    sizes.delete(msg.answered);
    underWay.delete(msg.answered);
  } else if (Buffer.isBuffer(msg.payload)) {
    const kept = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    const most = Number(env.get('MQTT_MEGABYTES')) * 1e6;
    if (msg.retain) refuse('mqtt-retained', 'The message was retained by the broker: an old picture is no new part.');
    else if (kept + msg.payload.length > most)
      refuse('inbox-full', `More than ${most / 1e6} MB of pictures wait already.`);
    else {
      const now = Date.now();
      const name = `${now}-${String(state.count++).padStart(9, '0')}.part`;
      const head = `${JSON.stringify({ topic: msg.topic, taken: new Date(now).toISOString() })}\n`;
      const file = path.join(folder, name);
      // written beside and renamed, so that half a part is never taken for a whole one
      fs.writeFileSync(`${file}.writing`, Buffer.concat([Buffer.from(head), msg.payload]));
      fs.renameSync(`${file}.writing`, file);
      sizes.set(name, msg.payload.length);
    }
  }
  const parts = [];
  for (const name of sizes.keys()) {
    if (underWay.size >= 2) break;
    if (underWay.has(name)) continue;
    underWay.add(name);
    const bytes = fs.readFileSync(path.join(folder, name));
    const end = bytes.indexOf('\n');
    parts.push({ entry: name, ...JSON.parse(bytes.subarray(0, end)), payload: bytes.subarray(end + 1) });
  }
  flow.set('inbox', sizes.size);
  node.status({ fill: sizes.size > 2 ? 'yellow' : 'green', shape: 'dot', text: `${sizes.size} in the inbox` });
  return [parts];
}

/** Part id, recipe and picture: of a picture sent as it is, or of a JSON text that holds it or names its file. */
export function readThePart(msg, { node, env, Buffer }) {
  const line = env.get('LINE');
  const { topic, payload, entry } = msg;
  // a part without an id gets the name that its file has in the inbox
  const part = { ...msg, part: entry.replace('.part', ''), recipe: env.get('RECIPE') };
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), part);
  if (topic !== `${line}/trigger`) {
    part.part = topic.slice(`${line}/camera/`.length) || part.part;
    if (payload.length === 0) return refuse('image-empty', 'The message has no picture in it.');
    return part;
  }
  let trigger;
  try {
    trigger = JSON.parse(payload.toString());
  } catch {
    return refuse('trigger-unreadable', 'The trigger is no JSON text.');
  }
  const { part: id, recipe, file, image, width, height, channels = 3 } = trigger || {};
  if (typeof id === 'string' || typeof id === 'number') part.part = String(id);
  if (recipe !== undefined) part.recipe = recipe;
  if (typeof image === 'string') {
    const data = Buffer.from(image, 'base64');
    part.payload = width ? { data, width, height, channels } : data;
  } else if (typeof file === 'string' && file !== '') part.payload = file;
  else return refuse('input-missing', 'The trigger has neither "image" (base64) nor "file".');
  return part;
}

/** The verdict for <line>/verdict: which part, by which version. */
export function asVerdict(msg, { env }) {
  const { entry, part, recipe, taken, payload } = msg;
  const { verdict, score, threshold, damage, regions, detector, image, timing } = payload;
  const about = { part, recipe, verdict, score, threshold, damage, detector, taken, at: new Date().toISOString() };
  return { entry, topic: `${env.get('LINE')}/verdict`, payload: { ...about, image, regions, timing } };
}

/** What could not be scored, and why, for <line>/rejected: an error of any node, or a part that anomaly-score dropped. */
export function asRejected(msg, { env }) {
  const { entry, part, recipe, taken, error, dropped, topic: from } = msg;
  const { message = `Too many parts waited (${dropped?.reason}).`, code = dropped ? 'dropped' : 'unknown' } =
    error || {};
  const reason = message.replace(/^\w*Error: /, '');
  const payload = { part: part ?? null, recipe, reason, code, from, taken, at: new Date().toISOString() };
  return { entry, topic: `${env.get('LINE')}/rejected`, payload };
}

/** Finds what was not sent when the node was stopped. */
export function outboxStart({ context, env, fs, path, os }) {
  const folder = path.join(env.get('MQTT_FOLDER') || path.join(os.homedir(), 'goodparts-mqtt'), 'outbox');
  fs.mkdirSync(folder, { recursive: true });
  const { connected = false } = context.get('state') || {};
  const names = fs.readdirSync(folder).filter(name => name.endsWith('.json'));
  context.set('state', { folder, connected, waiting: names.sort(), sent: 0, count: 0, lost: 0 });
}

/**
 * Keeps verdicts and rejections on the disk until the broker has them: the MQTT node drops what comes while it is not connected, and
 * says nothing. One at a time, the oldest first; what got no answer within 5 s goes again, so a verdict may come twice.
 * Messages in: a verdict or rejection; msg.status of the node "to the broker"; what that node is done with (msg.outgoing); a tick.
 * Out: to the broker; to the inbox (its part is answered); to the line's state.
 */
export function outbox(msg, { node, context, flow, fs, path }) {
  const state = context.get('state');
  const { folder, waiting } = state;
  const now = Date.now();
  let answered = null;
  let news = null;
  if (msg.status) {
    state.connected = msg.status.text.endsWith('.connected');
    // what the MQTT node had in hand it sends again by itself
    if (state.sent) state.sent = now;
  } else if (msg.outgoing) {
    fs.rmSync(path.join(folder, msg.outgoing), { force: true });
    if (waiting[0] === msg.outgoing) {
      waiting.shift();
      state.sent = 0;
    }
  } else if (msg.topic) {
    const name = `${now}-${String(state.count++).padStart(9, '0')}.json`;
    const file = path.join(folder, name);
    fs.writeFileSync(`${file}.writing`, JSON.stringify({ topic: msg.topic, payload: msg.payload }));
    fs.renameSync(`${file}.writing`, file);
    waiting.push(name);
    if (msg.entry) answered = { answered: msg.entry };
    news = { payload: msg.payload };
    if (waiting.length > 20_000) {
      // the one in hand stays
      fs.rmSync(path.join(folder, waiting.splice(1, 1)[0]), { force: true });
      state.lost++;
      node.warn('More than 20,000 messages wait for the broker: the oldest is lost.');
    }
  }
  let out = null;
  if (state.connected && waiting.length > 0 && (!state.sent || now - state.sent > 5000)) {
    state.sent = now;
    out = { outgoing: waiting[0], ...JSON.parse(fs.readFileSync(path.join(folder, waiting[0]), 'utf8')) };
  }
  flow.set('outbox', { waiting: waiting.length, lost: state.lost });
  const fill = !state.connected ? 'red' : waiting.length > 1 ? 'yellow' : 'green';
  const text = `${state.connected ? 'connected' : 'no broker'}, ${waiting.length} waiting`;
  node.status({ fill, shape: state.connected ? 'dot' : 'ring', text });
  return [out, answered, news];
}

/** Counts since when. */
export function lineStateStart({ context }) {
  const { connected = false } = context.get('state') || {};
  const counts = { ok: 0, review: 0, ng: 0, rejected: 0 };
  context.set('state', { connected, counts, detector: null, since: new Date().toISOString() });
}

/** The line's state for everyone who comes later (retained), whenever it changes. The broker says "offline" in its place (Last Will). */
export function lineState(msg, { context, flow, env }) {
  const state = context.get('state');
  if (msg.status) {
    state.connected = msg.status.text.endsWith('.connected');
    state.told = '';
  } else if (msg.payload?.at) {
    const { verdict = 'rejected', detector } = msg.payload;
    state.counts[verdict]++;
    if (detector) state.detector = detector;
  }
  if (!state.connected) return null;
  const { waiting = 0, lost = 0 } = flow.get('outbox') || {};
  const waits = { inbox: flow.get('inbox') || 0, outbox: waiting, lost };
  const payload = { status: 'online', ...state.counts, ...waits, detector: state.detector, since: state.since };
  const text = JSON.stringify(payload);
  if (text === state.told) return null;
  state.told = text;
  return { topic: `${env.get('LINE')}/state`, payload: { ...payload, at: new Date().toISOString() } };
}

/** Drawn parts as triggers with raw pixels in them, so that the flow can be tried without a camera. */
export function asTrigger(msg, { env }) {
  const { data, width, height, channels } = msg.payload;
  const part = `drawn-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6)}`;
  const picture = { width, height, channels, image: data.toString('base64') };
  return { topic: `${env.get('LINE')}/trigger`, payload: { part, recipe: env.get('RECIPE'), ...picture } };
}
