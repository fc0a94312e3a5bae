// What the function nodes of dashboard-classic.json do, beside that of camera.mjs; see functions.mjs.

/** The slider's limit for NG; at 0 that of the threshold node holds. */
export function limit(msg, { flow }) {
  const wanted = flow.get('limit') || 0;
  if (wanted > 0) msg.threshold = wanted;
  return msg;
}

/** Counts a part. Outputs: to the page, to the chart (score and limit, two lines). */
export function count(msg, { flow }) {
  const counts = flow.get('counts') || { ok: 0, review: 0, ng: 0 };
  const { score, threshold, verdict } = msg.payload;
  counts[verdict]++;
  flow.set('counts', counts);
  const all = counts.ok + counts.review + counts.ng;
  const percent = (100 * (all - counts.ng)) / all;
  return [
    { payload: { ...counts, all, percent, score, threshold, verdict, part: `${all}`, picture: msg.heatmap } },
    [
      { topic: 'score', payload: score },
      { topic: 'limit', payload: threshold }
    ]
  ];
}

/** What the page says of a fit, and of errors. */
export function says(msg) {
  const { stage, percent, version, images } = msg.payload || {};
  if (msg.error) return { payload: msg.error.message.replace(/^\w*Error: /, '') };
  return {
    payload: version
      ? `Learned ${images} good parts: version ${version}`
      : `Learning: ${stage} ${Math.round(percent)} %`
  };
}
