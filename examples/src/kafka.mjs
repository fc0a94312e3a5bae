// What the function nodes of kafka.json do; see functions.mjs. The parts <name>Start and <name>Stop are a node's code "On Start"
// and "On Stop".

/** Puts a drawn picture into the folder, as an uncompressed TIFF (1.2 MB): written beside and renamed, so it is never half there. */
export function intoTheFolder(msg, { context, env, fs, path, os, Buffer }) {
  const { data, width, height } = msg.payload;
  // tag, type (3: 16 bit, 4: 32 bit), count, value or place of the values
  const tags = [
    [256, 4, 1, width],
    [257, 4, 1, height],
    [258, 3, 3, 134], // 8, 8, 8 bits, behind the tags
    [259, 3, 1, 1],
    [262, 3, 1, 2],
    [273, 4, 1, 140], // the pixels
    [277, 3, 1, 3],
    [278, 4, 1, height],
    [279, 4, 1, data.length],
    [284, 3, 1, 1]
  ];
  const head = Buffer.alloc(140);
  head.write('II*\0\x08\0\0\0', 'latin1');
  head.writeUInt16LE(tags.length, 8);
  tags.forEach(([tag, type, count, value], i) => {
    const at = 10 + i * 12;
    head.writeUInt16LE(tag, at);
    head.writeUInt16LE(type, at + 2);
    head.writeUInt32LE(count, at + 4);
    head.writeUInt32LE(value, at + 8);
  });
  [134, 136, 138].forEach(at => head.writeUInt16LE(8, at));
  const base = env.get('PARTS_FOLDER') || path.join(os.homedir(), 'goodparts-kafka');
  const folder = path.join(base, 'todo', 'disc');
  fs.mkdirSync(folder, { recursive: true });
  const number = (context.get('number') || 0) + 1;
  context.set('number', number);
  const file = path.join(folder, `part-${Date.now().toString(36)}-${number}.tiff`);
  fs.writeFileSync(`${file}.writing`, Buffer.concat([head, data]));
  fs.renameSync(`${file}.writing`, file);
  return null;
}

/** What was under way when the node was stopped is not known any more: it is sent again. */
export function outboxStart({ context }) {
  const { ready = false } = context.get('state') || {};
  context.set('state', { ready, underWay: new Map() });
}

/**
 * Sends the pictures of todo/<recipe>/<part id>.<ending>, the oldest first and two at a time. A picture leaves the folder when Kafka
 * has it (to sent/), or will never have it (to refused/, and a message to the second output). So nothing is lost while Kafka
 * is away, and the memory stays small: what waits, waits on the disk.
 * Messages in: a tick; msg.status of the node "parts"; what that node says of a picture, on both of its outputs.
 */
export function outbox(msg, { node, context, env, fs, path, os }) {
  const base = env.get('PARTS_FOLDER') || path.join(os.homedir(), 'goodparts-kafka');
  const todo = path.join(base, 'todo');
  const state = context.get('state');
  const { underWay } = state;
  const rejections = [];
  const settle = (file, where) => {
    const place = path.join(base, where, path.relative(todo, file));
    fs.mkdirSync(path.dirname(place), { recursive: true });
    if (fs.existsSync(file)) fs.renameSync(file, place);
    underWay.delete(file);
  };
  const describe = file => ({ part: path.parse(file).name, recipe: path.basename(path.dirname(file)) });
  const refuse = (file, code, reason) => {
    settle(file, 'refused');
    const payload = { ...describe(file), reason, code, source: null, at: new Date().toISOString() };
    rejections.push({ key: payload.part, payload: JSON.stringify(payload) });
    node.warn(`${file} was not sent: ${reason}`);
  };

  if (msg.status) {
    const { text } = msg.status;
    // the node is connected or not; it forgets what it had when that changes, and drops what comes while it is not
    if (/^(Ready|Initializing|Init error|Offline|Disconnected)/.test(text)) {
      underWay.clear();
      state.ready = text === 'Ready';
    }
  } else if (msg.file && msg.error) {
    const { name, type, message } = msg.error;
    if (name === 'KafkaJSNumberOfRetriesExceeded') underWay.delete(msg.file);
    else refuse(msg.file, type || name, message);
  } else if (msg.file) settle(msg.file, 'sent');

  const names = folder => (fs.existsSync(folder) ? fs.readdirSync(folder) : []);
  const now = Date.now();
  const waiting = names(todo)
    .flatMap(recipe => names(path.join(todo, recipe)).map(name => path.join(todo, recipe, name)))
    .filter(file => /\.(png|jpe?g|tiff?|webp|gif|avif)$/i.test(file) && !underWay.has(file))
    .map(file => ({ file, ...fs.statSync(file) }))
    // a picture that another program is still writing changes
    .filter(({ mtimeMs }) => now - mtimeMs > 500)
    .sort((a, b) => a.mtimeMs - b.mtimeMs);
  const parts = [];
  while (state.ready && waiting.length > 0 && underWay.size < 2) {
    const { file, size, mtimeMs } = waiting.shift();
    if (size === 0) refuse(file, 'image-empty', 'The file is empty.');
    else if (size > 64 * 2 ** 20) refuse(file, 'image-too-large', 'The file is larger than 64 MB.');
    else {
      underWay.set(file, now);
      const { part, recipe } = describe(file);
      const headers = { recipe, taken: new Date(mtimeMs).toISOString() };
      parts.push({ file, key: part, headers, payload: fs.readFileSync(file) });
    }
  }
  const silent = Math.round((now - Math.min(now, ...underWay.values())) / 1000);
  const away = !state.ready || silent > 5;
  const fill = away ? 'red' : waiting.length > 0 ? 'yellow' : 'green';
  const where = !state.ready ? 'no Kafka' : away ? `no answer for ${silent} s` : 'Kafka there';
  node.status({ fill, shape: away ? 'ring' : 'dot', text: `${where}, ${waiting.length} waiting` });
  return [parts, rejections];
}

/**
 * Reads the parts. A part's offset is committed when its verdict or its rejection is in Kafka, not before: whatever happens to
 * this process, each part gets at least one. At most four parts are in the flow at a time, one a partition.
 */
export function readPartsStart({ node, context, env, setTimeout, setInterval, kafkajs }) {
  const parts = new Map();
  const reader = { parts, closed: false, heard: 0 };
  context.set('reader', reader);
  const brokers = env.get('KAFKA_BROKERS').split(/[\s,]+/);
  const kafka = new kafkajs.Kafka({ clientId: 'goodparts', brokers, logLevel: kafkajs.logLevel.NOTHING });
  // a picture is up to 16 MB, more than Kafka's clients take unless told
  const sizes = { maxBytesPerPartition: 2 ** 24, maxBytes: 2 ** 25, maxWaitTimeInMs: 1000 };
  const times = { sessionTimeout: 10_000, metadataMaxAge: 10_000 };
  const consumer = kafka.consumer({ groupId: 'inspection', ...times, ...sizes });
  reader.consumer = consumer;

  const eachMessage = async ({ topic, partition, message, heartbeat }) => {
    const { key, value, offset, timestamp, headers = {} } = message;
    const id = `${partition}/${offset}`;
    // after a change in the group the same part may come again while it is still in the flow: it is not scored twice
    const known = parts.get(id);
    const part = known?.timestamp === timestamp ? known : { timestamp, answered: false, next: 0, wait: 15_000 };
    parts.set(id, part);
    while (!part.answered) {
      if (reader.closed) throw new Error('The flow was stopped; another member of the group goes on with this part.');
      if (Date.now() >= part.next) {
        part.wait *= 2;
        part.next = Date.now() + part.wait;
        const source = { topic, partition, offset: Number(offset) };
        const [recipe, taken] = [headers.recipe, headers.taken].map(one => one?.toString());
        node.send({ payload: value, part: key?.toString() || `${partition}-${offset}`, recipe, taken, source });
      }
      await new Promise(resolve => {
        part.wake = resolve;
        setTimeout(resolve, 3000);
      });
      if (!part.answered) await heartbeat();
    }
    parts.delete(id);
  };

  const again = error => {
    if (reader.closed) return;
    node.warn(`Kafka: ${error.message}; next try in 5 s`);
    setTimeout(run, 5000);
  };
  const run = async () => {
    try {
      await consumer.connect();
      await consumer.subscribe({ topics: ['parts'], fromBeginning: true });
      await consumer.run({ autoCommitThreshold: 1, partitionsConsumedConcurrently: 4, eachMessage });
      if (reader.closed) await consumer.disconnect();
    } catch (error) {
      again(error);
    }
  };
  const { FETCH, HEARTBEAT, GROUP_JOIN, CRASH } = consumer.events;
  for (const event of [FETCH, HEARTBEAT]) consumer.on(event, () => (reader.heard = Date.now()));
  consumer.on(GROUP_JOIN, ({ payload }) => {
    reader.mine = payload.memberAssignment.parts || [];
    // parts that another member went on with
    for (const [id, { next }] of parts) if (Date.now() > next) parts.delete(id);
  });
  consumer.on(CRASH, ({ payload }) => !payload.restart && again(payload.error));
  setInterval(() => {
    const away = Date.now() - reader.heard > 8000;
    const text = away ? 'no Kafka' : `partitions ${(reader.mine || []).join(' ') || '-'}, ${parts.size} in the flow`;
    node.status({ fill: away ? 'red' : 'green', shape: away ? 'ring' : 'dot', text });
  }, 1000);
  void run();
}

/** A part is answered: Kafka has its verdict or its rejection. */
export function readParts(msg, { context }) {
  const { partition, offset } = msg.source;
  const part = context.get('reader').parts.get(`${partition}/${offset}`);
  if (!part) return null;
  part.answered = true;
  part.wake?.();
  return null;
}

/** Leaves the group, so that the others go on with the partitions at once. */
export function readPartsStop({ context }) {
  const reader = context.get('reader');
  reader.closed = true;
  for (const { wake } of reader.parts.values()) wake?.();
  reader.consumer.disconnect().catch(() => {});
}

/** What the node "kafka in" gives, in the form of "read parts". It does not say the offset. */
export function fromTheNode(msg) {
  const { key, value, headers } = msg.payload;
  const source = { topic: msg.topic, partition: msg.partition, offset: null };
  return { payload: value, part: key?.toString(), recipe: headers?.recipe, taken: headers?.taken, source };
}

/** The picture of an NG part for the topic overlays; the verdict follows when Kafka has it. */
export function asOverlay(msg) {
  const { part, recipe, taken, source, payload, heatmap } = msg;
  const headers = {
    recipe,
    partition: `${source.partition}`,
    offset: `${source.offset}`,
    version: payload.detector.version
  };
  return { part, recipe, taken, source, result: payload, key: part, headers, payload: heatmap };
}

/** The verdict as JSON: which part, from where, by which version. */
export function asVerdict(msg) {
  const { part, recipe, taken, source, result, error } = msg;
  const { verdict, score, threshold, damage, regions, detector, image, timing } = result || msg.payload;
  const at = new Date().toISOString();
  const overlay = Boolean(result && !error);
  const about = { part, recipe, verdict, score, threshold, damage, detector, source, taken, at, overlay };
  return { part, recipe, source, key: part, payload: JSON.stringify({ ...about, image, regions, timing }) };
}

/** What could not be scored, and why: an error of any node, or a part that anomaly-score dropped. */
export function asRejected(msg) {
  const { part, recipe, source, error, dropped } = msg;
  const why = error || { message: `Too many parts waited (${dropped?.reason}).`, code: 'dropped' };
  const reason = why.message.replace(/^\w*Error: /, '');
  // a Kafka error has its name in type, and a number in code
  const code = why.type || why.code || 'unknown';
  return {
    source,
    key: part,
    payload: JSON.stringify({ part, recipe, reason, code, source, at: new Date().toISOString() })
  };
}

/** One line of JSON a part, with no picture and no regions in it. */
export function logLine(msg) {
  const {
    at,
    part,
    recipe,
    verdict = 'rejected',
    score,
    threshold,
    detector,
    source,
    reason,
    code,
    timing
  } = JSON.parse(msg.payload);
  const { topic, partition, offset } = source;
  const ms = timing && Math.round(timing.total + timing.queue);
  const { name, version } = detector || {};
  const facts = { time: at, part, recipe, verdict, score, threshold, detector: name, version, ms, reason, code };
  return { payload: JSON.stringify({ ...facts, topic, partition, offset }) };
}
