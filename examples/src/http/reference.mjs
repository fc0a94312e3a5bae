// What the function nodes of http-reference.json do; see ../functions.mjs.

/** What was being learned when the flow was stopped is not any more. */
export function routeStart({ flow }) {
  flow.set('fitting', false);
}

/** /load_reference: pictures of good parts, all in one message, to the fit; /infer and /infer_json: one picture to the score. */
export function route(msg, { node, env, flow }) {
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  const { pictures, fields } = msg;
  if (pictures.length === 0) return refuse('input-missing', 'No picture came: send a form with a file in "image".');
  msg.recipe = env.get('DETECTOR');
  if (msg.req.route.path.endsWith('/load_reference')) {
    if (flow.get('fitting')) return refuse('fit-busy', 'A reference is being learned; try again when that is done.');
    flow.set('fitting', true);
    return [null, { ...msg, payload: pictures, complete: true, fitting: true }];
  }
  if (pictures.length > 1) return refuse('image-too-many', 'One picture at a time.');
  msg.limit = Number(fields.threshold ?? 0.5);
  if (!(msg.limit >= 0 && msg.limit <= 1)) return refuse('input-invalid', 'threshold is a number from 0 to 1.');
  msg.payload = pictures[0];
  return [msg, null];
}

/** The overlay as PNG (/infer), or inside of JSON (/infer_json). 0.5 is the detector's own limit, whatever its scores are. */
export function answer(msg) {
  const { score, threshold, damage } = msg.payload;
  const verdict = {
    damage_percentage: 100 * damage,
    anomaly_detected: score / (score + threshold) > msg.limit,
    threshold: msg.limit
  };
  if (msg.req.route.path.endsWith('/infer_json')) {
    msg.payload = { ...verdict, output_image: msg.heatmap.toString('base64') };
    return msg;
  }
  msg.headers = {
    'content-type': 'image/png',
    'x-damage-percentage': verdict.damage_percentage.toFixed(3),
    'x-anomaly-detected': String(verdict.anomaly_detected)
  };
  msg.payload = msg.heatmap;
  return msg;
}

/** The reference is learned. */
export function loaded(msg, { flow }) {
  flow.set('fitting', false);
  const { images, version } = msg.payload;
  msg.payload = { message: 'Reference loaded', images, version };
  return msg;
}

/** What a fit that failed has taken in is forgotten, so that the next one starts anew. */
export function giveUp(msg, { flow }) {
  if (!msg.fitting) return null;
  flow.set('fitting', false);
  return { reset: true, recipe: msg.recipe };
}
