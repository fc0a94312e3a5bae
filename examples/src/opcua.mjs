// What the function nodes of opcua.json do; see functions.mjs. handshakeStart is a node's code "On Start".

/** A part that was under way when the node was stopped is taken again: its trigger still stands. */
export function handshakeStart({ context }) {
  context.set('state', { asked: 0, waiting: false, heard: 0, beat: 0, count: 0, part: null, result: null });
}

/**
 * The handshake. It looks at the variables four times a second and acts on what they are, not on how they change, so that it goes on
 * where it was after either side was restarted. Also the watchdog of the client, which stays dead when its server comes later.
 *   Trigger, not ResultReady: takes the part (Busy, not Ready) and has it inspected.
 *   Inspected: writes the result with ResultReady, not Busy; again until the server has it.
 *   Not Trigger: clears ResultReady, and is Ready.
 * Messages in: a tick; the values that the client read (its third output); msg.result of a part.
 * Out: to the client; a part to inspect; parts whose result nobody waited for.
 */
export function handshake(msg, { node, context, env }) {
  const state = context.get('state');
  const now = Date.now();
  const asked = ['Trigger', 'PartId', 'RecipeId', 'ResultReady', 'Busy', 'Ready'];
  const place = name => `${env.get('OPCUA_NODES')}${name}`;
  const show = (fill, text) => node.status({ fill, shape: fill === 'green' ? 'dot' : 'ring', text });
  const write = values => {
    const payload = Object.entries(values).map(([name, value]) => {
      const datatype = { boolean: 'Boolean', string: 'String' }[typeof value];
      const numbers = { Score: 'Double', Threshold: 'Double', Heartbeat: 'UInt32' };
      return { nodeId: place(name), datatype: datatype || numbers[name] || 'Int32', value };
    });
    return { action: 'writemultiple', topic: 'values', payload };
  };

  if (msg.result) {
    // a result of a part that was given up meanwhile has another number
    if (msg.result.count === state.count) state.result = msg.result.values;
    return null;
  }
  if (!Array.isArray(msg.payload)) {
    if (!state.waiting) {
      Object.assign(state, { waiting: true, asked: now });
      return [{ action: 'readmultiple', topic: 'readmultiple', payload: asked.map(place) }];
    }
    if (now - state.asked < 6000) return null;
    // the next question waits in the client until it is connected
    state.waiting = false;
    show('red', state.heard ? `no answer for ${Math.round((now - state.heard) / 1000)} s` : 'no answer yet');
    return [{ action: 'reconnect', topic: 'reconnect' }];
  }

  state.waiting = false;
  state.heard = now;
  const values = msg.payload.map(one => one?.value?.value);
  const missing = asked.filter((name, i) => values[i] === undefined || (values[i] === null && !/Id$/.test(name)));
  if (missing.length > 0) {
    show('red', `no ${missing.join(', ')}`);
    return null;
  }
  const [trigger, partId, recipeId, resultReady, busy, ready] = values;
  const part = partId || '';
  let nobody = null;
  if (state.result && (!trigger || part !== state.part)) {
    node.warn(`Nobody waited for the result of part ${state.part}: the trigger was reset.`);
    nobody = { payload: state.result };
    Object.assign(state, { part: null, result: null });
  } else if (state.result && resultReady) Object.assign(state, { part: null, result: null });
  else if (state.part !== null && trigger && part !== state.part) {
    node.warn(`Part ${state.part} was not inspected to the end: part ${part} came in its place.`);
    state.part = null;
  }

  if (state.result) {
    show('green', `result of ${part}`);
    return [write({ ...state.result, ResultReady: true, Ready: true, Busy: false }), null, nobody];
  }
  if (trigger && !resultReady && state.part === null) {
    state.part = part;
    state.count++;
    show('green', `inspects ${part}`);
    const cleared = { Result: 0, ResultPartId: '', Score: 0, ErrorCode: 0, ErrorText: '' };
    const inspected = { part, recipe: recipeId || env.get('RECIPE'), count: state.count, payload: part };
    return [write({ Busy: true, Ready: false, ...cleared }), inspected, nobody];
  }
  if (state.part !== null && (!busy || ready)) return [write({ Busy: true, Ready: false }), null, nobody];
  if (state.part === null && !trigger && (resultReady || busy || !ready)) {
    show('green', 'ready');
    return [write({ ResultReady: false, Busy: false, Ready: true }), null, nobody];
  }
  if (now - state.beat < 1000) return [null, null, nobody];
  state.beat = now;
  if (state.part === null) show('green', trigger ? 'waits for the trigger to fall' : 'ready');
  return [write({ Heartbeat: Math.floor(now / 1000) % 2 ** 32 }), null, nobody];
}

/** The picture of a part: the file <part id>.<ending> in the folder, for which it waits a little. */
export async function pictureOfThePart(msg, { node, env, fs, path, setTimeout }) {
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  if (msg.part === '') return refuse('part-missing', 'There is no PartId.');
  const folder = env.get('PARTS_FOLDER');
  const late = Date.now() + 3000;
  for (;;) {
    const names = fs.existsSync(folder) ? fs.readdirSync(folder) : [];
    const found = names.find(
      name => path.parse(name).name === msg.part && /\.(png|jpe?g|tiff?|webp|gif|avif)$/i.test(name)
    );
    if (found) return { ...msg, payload: found };
    if (Date.now() > late) return refuse('picture-missing', `No picture of part ${msg.part} came within 3 s.`);
    await new Promise(resolve => setTimeout(resolve, 200));
  }
}

/** What is written of a part: scored, or not and why. */
export function asResult(msg) {
  const { part, count, payload, error, dropped } = msg;
  const none = { Result: 0, ResultPartId: part, Score: 0, Threshold: 0, Detector: '', ErrorCode: 0, ErrorText: '' };
  if (!error && !dropped) {
    const { verdict, score, threshold, detector } = payload;
    const Result = { ok: 1, review: 2, ng: 3 }[verdict];
    const scored = { Result, Score: score, Threshold: threshold, Detector: `${detector.name} ${detector.version}` };
    return { result: { count, values: { ...none, ...scored } } };
  }
  const { message = 'Too many parts waited.', code = 'dropped' } = error || {};
  const groups = [/^(picture|part|path|input)-/, /^image-/, /^(detector|name)-/, /^(dropped|queue-|engine-)/];
  const group = groups.findIndex(pattern => pattern.test(code));
  const failed = { ErrorCode: group < 0 ? 9 : group + 1, ErrorText: message.replace(/^\w*Error: /, '') };
  return { result: { count, values: { ...none, ...failed } } };
}
