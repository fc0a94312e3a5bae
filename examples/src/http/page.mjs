// What the function nodes of http-upload-page.json do; see ../functions.mjs.

/** GET /ping asks which detectors there are; a picture goes to the one that was chosen, or to the nearest. */
export function route(msg, { node }) {
  if (msg.req.method === 'GET') return [null, { ...msg, list: true }];
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  const { pictures, fields } = msg;
  if (pictures.length !== 1) return refuse('input-missing', 'Send a form with one picture in "file".');
  msg.recipe = fields.class_name || '*';
  msg.payload = pictures[0];
  return [msg, null];
}

/** What the page shows. */
export function answer(msg) {
  const { score, threshold, verdict, isAnomaly, damage, regions, image, detector, product } = msg.payload;
  const missing = product?.name === null;
  msg.payload = {
    verdict: missing ? 'unknown' : verdict,
    class_name: missing ? 'unknown product' : detector.name,
    class_confidence: product ? product.confidence : 1,
    ...{ score, threshold, isAnomaly, damage, regions, image, detector },
    overlay: msg.heatmap,
    processing_time_ms: Date.now() - msg.began
  };
  return msg;
}

/** GET /ping. */
export function pong(msg) {
  msg.payload = { status: 'Healthy', classes: msg.payload.map(({ name }) => name) };
  return msg;
}
