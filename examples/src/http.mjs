// What the function nodes of inspect-by-http.json do; see functions.mjs.

/** Names the detector, and lets only bytes through: a text would be taken for the path of a file on this machine. */
export function readTheRequest(msg, { node, Buffer }) {
  const { query, files, method, route } = msg.req;
  msg.recipe = query.recipe || 'part';
  const learning = route.path !== '/inspect';
  if (method === 'DELETE') msg.reset = true;
  else if (route.path === '/learn/done') Object.assign(msg, { complete: true, payload: [] });
  else {
    const uploads = Array.isArray(files) ? files.length : 0;
    if (uploads === 0 && !Buffer.isBuffer(msg.payload)) {
      const text =
        'The body is no picture: send its bytes with Content-Type image/jpeg (or png, ...), or a form upload.';
      node.error(Object.assign(new Error(text), { code: 'image-format' }), msg);
      return null;
    }
    msg.pictures = uploads || 1;
  }
  return learning ? [null, msg] : [msg, null];
}

/** The heatmap as the body, the verdict in the headers; of several pictures the first. */
export function asAPicture(msg) {
  const [{ score, threshold, verdict }] = [msg.payload].flat();
  msg.headers = { 'content-type': 'image/jpeg', 'x-score': score, 'x-threshold': threshold, 'x-verdict': verdict };
  msg.payload = [msg.heatmap].flat()[0];
  return msg;
}

/** Tells the sender's mistakes (4xx) from ours (5xx). */
export function asAnError(msg) {
  // an error that belongs to no request: the debug sidebar has it
  if (!msg.res) return null;
  const { code = 'unknown', message } = msg.error;
  const known = {
    'detector-unknown': 404,
    'image-too-large': 413,
    'image-format': 415,
    'queue-full': 429,
    'engine-stopped': 503,
    'engine-timeout': 504
  };
  const theirs = ['image-', 'input-', 'name-', 'fit-no-images', 'fit-aborted'].some(start => code.startsWith(start));
  msg.statusCode = known[code] || (theirs ? 400 : 500);
  msg.payload = { error: message.replace(/^\w*Error: /, ''), code };
  return msg;
}
