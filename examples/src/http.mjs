// What the function nodes of inspect-by-http.json do; see functions.mjs.

/** Names the detector and finds the pictures, as bytes only: a text would be taken for the path of a file on this machine. */
export async function readTheRequest(msg, { node, Buffer }) {
  const { query, files, method, route } = msg.req;
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  msg.recipe = query.recipe || 'part';
  if (method === 'DELETE') return [null, { ...msg, reset: true }];
  if (route.path === '/learn/done') return [null, { ...msg, complete: true, payload: [], fitting: true }];
  const uploads = Array.isArray(files) ? files.length : 0;
  if (uploads === 0) {
    // an http in node that takes uploads leaves every other body unread
    const [chunks, most] = [[], 64 * 2 ** 20];
    let size = 0;
    for await (const chunk of msg.req) {
      size += chunk.length;
      if (size <= most) chunks.push(chunk);
    }
    if (size > most) return refuse('image-too-large', 'The body is larger than 64 MB.');
    if (size === 0)
      return refuse(
        'image-format',
        'No picture came: send its bytes with Content-Type image/jpeg (or png, ...), or a form upload.'
      );
    msg.payload = Buffer.concat(chunks);
  }
  msg.pictures = uploads || 1;
  return route.path === '/learn' ? [null, msg] : [msg, null];
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
