// What the function nodes of busy-line.json do; see functions.mjs and camera.mjs.

/** Counts verdicts and parts that were not scored, and shows them under the node. */
export function count(msg, { node, flow }) {
  const counts = flow.get('counts') || { ok: 0, review: 0, ng: 0, dropped: 0 };
  counts[msg.dropped ? 'dropped' : msg.payload.verdict]++;
  flow.set('counts', counts);
  const { ok, review, ng, dropped } = counts;
  const fill = dropped > 0 ? 'yellow' : 'green';
  node.status({ fill, shape: 'dot', text: `ok ${ok}, review ${review}, ng ${ng}, dropped ${dropped}` });
  return { payload: counts };
}

/** Every part that anomaly-score is done with, scored or dropped: none is lost without a word. */
export function countAll(msg, { node, context }) {
  const all = (context.get('all') || 0) + 1;
  context.set('all', all);
  node.status({ text: `${all} parts` });
  return null;
}
