// What the function node "sparkplug" of mqtt.json does; see functions.mjs.

/** Connects a second after the deploy, when the MQTT nodes are there; the number of the connection goes on after a restart. */
export function sparkplugStart({ context }) {
  const { birth = Math.floor(Date.now() / 1000) % 256, seq = 0, connected = false } = context.get('state') || {};
  context.set('state', { birth, seq, connected, waiting: [] });
}

/**
 * Speaks Sparkplug B as one edge node: NBIRTH when connected (and when the host asks for it, "Node Control/Rebirth"), NDATA a part,
 * NDEATH as Last Will. Each connection has a new bdSeq, so it is opened from here. Up to 1,000 parts wait while it is not open and are
 * sent later as historical values.
 * Messages in: a verdict or a rejection; msg.status of the node "sparkplug out"; NCMD; the inject node "connect".
 */
export function sparkplug(msg, { node, context, env, sparkplugPayload }) {
  const { encodePayload, decodePayload } = sparkplugPayload.get('spBv1.0');
  const state = context.get('state');
  const [group, edge] = [env.get('SPARKPLUG_GROUP'), env.get('LINE')];
  const topic = kind => `spBv1.0/${group}/${kind}/${edge}`;
  const bdSeq = () => ({ name: 'bdSeq', type: 'UInt64', value: state.birth });
  const metric = (name, type, value) => ({
    name,
    type,
    ...(value === null ? { value: null, isNull: true } : { value })
  });
  const metrics = ({ part, verdict = 'rejected', score = null, threshold = null, detector, reason = '', at }) => {
    const values = [
      metric('PartId', 'String', part ?? ''),
      metric('Verdict', 'String', verdict),
      metric('Score', 'Double', score),
      metric('Threshold', 'Double', threshold),
      metric('Detector', 'String', detector ? `${detector.name} ${detector.version}` : ''),
      metric('Reason', 'String', reason)
    ];
    return values.map(one => ({ ...one, timestamp: Date.parse(at) }));
  };
  const message = (kind, list) => {
    if (kind === 'NBIRTH') state.seq = 0;
    else state.seq = (state.seq + 1) % 256;
    return { topic: topic(kind), payload: encodePayload({ timestamp: Date.now(), seq: state.seq, metrics: list }) };
  };
  const born = () => {
    const control = metric('Node Control/Rebirth', 'Boolean', false);
    const last = state.last || { verdict: '', at: new Date().toISOString() };
    return message('NBIRTH', [bdSeq(), control, ...metrics(last)]);
  };
  const connect = () => {
    state.birth = (state.birth + 1) % 256;
    const payload = encodePayload({ timestamp: Date.now(), metrics: [bdSeq()] });
    return { action: 'connect', broker: { will: { topic: topic('NDEATH'), payload, qos: 1, retain: false } } };
  };

  if (msg.status) {
    const before = state.connected;
    state.connected = msg.status.text.endsWith('.connected');
    if (before && !state.connected) return [[connect()]];
    if (before || !state.connected) return null;
    const missed = state.waiting.splice(0);
    const messages = [born()];
    for (const one of missed) {
      const values = metrics(one).map(value => ({ ...value, isHistorical: true }));
      messages.push(message('NDATA', values));
    }
    node.status({ fill: 'green', shape: 'dot', text: `online, bdSeq ${state.birth}` });
    return [messages];
  }
  if (msg.connect) return state.connected ? null : [[connect()]];
  if (msg.topic === topic('NCMD')) {
    const { metrics: asked = [] } = decodePayload(msg.payload);
    const rebirth = asked.some(({ name, value }) => name === 'Node Control/Rebirth' && value === true);
    return rebirth && state.connected ? [[born()]] : null;
  }
  if (!msg.payload?.at) return null;
  state.last = msg.payload;
  if (state.connected) return [[message('NDATA', metrics(msg.payload))]];
  state.waiting.push(msg.payload);
  if (state.waiting.length > 1000) state.waiting.shift();
  node.status({ fill: 'red', shape: 'ring', text: `no broker, ${state.waiting.length} waiting` });
  return null;
}
