/* global $, note, problemOf, listLine, checkLine, shownSettings */
/* eslint-disable @typescript-eslint/no-unused-vars -- the build puts this file into anomaly-model's editor page */
const duration = seconds => (seconds < 90 ? `${seconds.toFixed(1)} s` : `${(seconds / 60).toFixed(1)} min`);
const megabytes = mb => `${mb.toFixed(mb < 100 ? 1 : 0)} MB`;

/** What a fit with these settings will take, measured by the runtime. */
async function showPlan(node) {
  const list = $('#goodparts-plan');
  note(list, node._('plan.running'));
  const [images, picture] = ['images', 'picture'].map(what => $(`#goodparts-plan-${what}`).val());
  const data = JSON.stringify({ ...shownSettings(node), images, picture });
  try {
    const plan = await $.ajax({ url: 'goodparts/plan', method: 'POST', contentType: 'application/json', data });
    showFigures(node, list, plan);
  } catch (error) {
    note(list, node._('plan.failed', { message: problemOf(error) }));
  }
}

function showFigures(node, list, plan) {
  const { fitSeconds } = plan;
  const times = Object.fromEntries(Object.entries(fitSeconds).map(([stage, s]) => [stage, duration(s)]));
  const line = (icon, key, detail) => list.append(listLine(icon, node._(`plan.${key}`), detail));
  note(list, node._('plan.title', { images: plan.images }));
  line('fa-clock-o', 'fit', node._('plan.stages', times));
  line('fa-microchip', 'memory', megabytes(plan.peakMemoryMb));
  line('fa-hdd-o', 'disk', megabytes(plan.diskMb));
  line('fa-database', 'detector', node._('plan.bank', { size: megabytes(plan.detectorMb), patches: plan.bankSize }));
  line('fa-bolt', 'score', `${Math.round(plan.scoreMs)} ms`);
  if (plan.refusal) list.append(checkLine(false, node._('plan.refused'), plan.refusal));
}
