// What the function nodes of http-autoencoder.json do; see ../functions.mjs.

/** The one detector of this API. */
export function route(msg, { node, env }) {
  const { pictures } = msg;
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  if (pictures.length === 0) return refuse('input-missing', 'No picture came: send a form with a file in "file".');
  if (pictures.length > 1) return refuse('image-too-many', 'One picture at a time.');
  msg.recipe = env.get('DETECTOR');
  msg.payload = pictures[0];
  return msg;
}

/** What a client of the autoencoder API reads. */
export function answer(msg) {
  const { score, threshold, isAnomaly } = msg.payload;
  msg.payload = { anomaly_score: score, threshold, is_anomaly: isAnomaly };
  return msg;
}
