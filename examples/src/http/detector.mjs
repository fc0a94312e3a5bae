// What the function nodes of http-detector.json do; see ../functions.mjs.

/** One picture or several: which detector, and what is wanted. GET asks only for the detectors that there are. */
export function route(msg, { node }) {
  const {
    method,
    route: { path }
  } = msg.req;
  if (method === 'GET') return [null, { ...msg, list: true }];
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  const { pictures, fields } = msg;
  msg.many = path.endsWith('/batch');
  if (pictures.length === 0) return refuse('input-missing', 'No picture came: send a form with a file in "file".');
  if (pictures.length > 1 && !msg.many)
    return refuse('image-too-many', 'One picture at a time: /detect/batch takes several.');
  msg.limit = Number(fields.threshold ?? 0.5);
  if (!(msg.limit >= 0 && msg.limit <= 1)) return refuse('input-invalid', 'threshold is a number from 0 to 1.');
  msg.wanted = ['true', '1', 'yes', 'on'].includes(String(fields.return_map).toLowerCase());
  // * is the detector that is nearest to the picture
  msg.recipe = fields.class_name || '*';
  msg.payload = pictures;
  return [msg, null];
}

/** What a client of the detector API reads. 0.5 is the detector's own limit, whatever its scores are. */
export function answer(msg) {
  const took = Date.now() - msg.began;
  const known = msg.recipe !== '*';
  const results = msg.payload.map(({ score, threshold, damage, detector, product }, i) => {
    const share = score / (score + threshold);
    const missing = !known && product.name === null;
    return {
      class_name: missing ? 'unknown product' : detector.name,
      class_confidence: known ? 1 : product.confidence,
      is_anomalous: missing || share > msg.limit,
      anomaly_score: share,
      anomaly_percentage: 100 * damage,
      anomaly_map_base64: msg.wanted ? msg.heatmap[i].toString('base64') : null,
      processing_time_ms: msg.many ? took / msg.payload.length : took
    };
  });
  msg.payload = msg.many ? { results, total_images: results.length, total_time_ms: took } : results[0];
  return msg;
}

/** GET /health and GET /classes. */
export function about(msg) {
  const classes = msg.payload.map(({ name }) => name);
  const health = { status: 'healthy', model_loaded: classes.length > 0, available_classes: classes };
  msg.payload = msg.req.route.path.endsWith('/health') ? health : { classes, total: classes.length };
  return msg;
}
