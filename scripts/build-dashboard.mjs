// Writes docs/monitoring/dashboard.json: Grafana's format says each panel in forty lines, of which two are ours.
// With --check it only says whether that is done.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const file = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../docs/monitoring/dashboard.json');
const datasource = { type: 'prometheus', uid: '${datasource}' };
const http = 'instance=~"$instance"';
const line = 'instance=~"$instance", recipe=~"$recipe"';
const rate = '[$__rate_interval]';
const quantile = (q, metric, labels, by = '') =>
  `histogram_quantile(${q}, sum by (${by}le) (rate(${metric}_bucket{${labels}}${rate})))`;

/** width of 24, title, unit, queries (expression, legend), and what else */
const panels = [
  row('Inspection'),
  stat(4, 'Parts a minute', 'short', [`60 * sum(rate(anomaly_parts_scored_total{${line}}${rate}))`]),
  stat(4, 'Yield, last hour', 'percentunit', [
    `sum(increase(anomaly_verdicts_total{${line}, verdict="ok"}[1h])) / sum(increase(anomaly_verdicts_total{${line}}[1h]))`
  ]),
  stat(4, 'NG, last hour', 'short', [`sum(increase(anomaly_verdicts_total{${line}, verdict="ng"}[1h]))`]),
  stat(4, 'Not inspected, last hour', 'short', [
    `sum(increase(anomaly_parts_dropped_total{${line}}[1h])) + (sum(increase(anomaly_errors_total{${http}}[1h])) or vector(0))`
  ]),
  stat(4, 'Engine restarts, last day', 'short', [`sum(increase(anomaly_engine_restarts_total{${http}}[1d]))`]),
  stat(4, 'Waiting', 'short', [`sum(anomaly_queue_depth{${http}})`]),
  graph(8, 'Verdicts', 'ops', [[`sum by (verdict) (rate(anomaly_verdicts_total{${line}}${rate}))`, '{{verdict}}']]),
  graph(8, 'Yield by recipe', 'percentunit', [
    [
      `sum by (recipe) (rate(anomaly_verdicts_total{${line}, verdict="ok"}${rate})) / sum by (recipe) (rate(anomaly_verdicts_total{${line}}${rate}))`,
      '{{recipe}}'
    ]
  ]),
  graph(8, 'Score drift: 0 as the good parts of the fit, 1 the limit', 'short', [
    [quantile(0.5, 'anomaly_score_relative', line, 'recipe, '), '{{recipe}} median'],
    [quantile(0.9, 'anomaly_score_relative', line, 'recipe, '), '{{recipe}} 90 %']
  ]),
  heatmap(8, 'Scores on the detector’s own scale', [
    `sum by (le) (increase(anomaly_score_relative_bucket{${line}}${rate}))`
  ]),
  graph(8, 'Age of the detectors', 's', [
    [`time() - anomaly_detector_created_timestamp_seconds{${line}}`, '{{recipe}} {{version}}']
  ]),
  graph(8, 'Errors by code', 'ops', [
    [`sum by (code) (rate(anomaly_errors_total{${http}}${rate}))`, '{{code}}'],
    [`sum(rate(anomaly_parts_dropped_total{${line}}${rate}))`, 'dropped']
  ]),
  row('Engine and Node-RED'),
  graph(8, 'Time of each stage, mean', 's', [
    [
      `sum by (stage) (rate(anomaly_stage_duration_seconds_sum{${http}}${rate})) / sum by (stage) (rate(anomaly_stage_duration_seconds_count{${http}}${rate}))`,
      '{{stage}}'
    ]
  ]),
  graph(8, 'Time of a picture', 's', [
    [quantile(0.5, 'anomaly_stage_duration_seconds', `${http}, stage="total"`), 'p50'],
    [quantile(0.95, 'anomaly_stage_duration_seconds', `${http}, stage="total"`), 'p95'],
    [quantile(0.99, 'anomaly_stage_duration_seconds', `${http}, stage="total"`), 'p99']
  ]),
  graph(8, 'Queue', 'short', [
    [`anomaly_queue_depth{${http}}`, '{{node}}'],
    [`anomaly_queue_bound{${http}}`, '{{node}} bound']
  ]),
  graph(8, 'CPU, cores', 'short', [
    [`rate(process_cpu_seconds_total{${http}}${rate})`, 'Node-RED'],
    [`rate(anomaly_engine_cpu_seconds_total{${http}}${rate})`, 'engine {{device}}']
  ]),
  graph(8, 'Memory', 'bytes', [
    [`process_resident_memory_bytes{${http}}`, 'Node-RED'],
    [`anomaly_engine_resident_memory_bytes{${http}}`, 'engine {{device}}']
  ]),
  graph(8, 'Event-loop delay', 's', [
    [`nodejs_eventloop_lag_p50_seconds{${http}}`, 'p50'],
    [`nodejs_eventloop_lag_p99_seconds{${http}}`, 'p99']
  ]),
  graph(8, 'Device: wanted and used', 'short', [[`anomaly_engine_device{${http}}`, '{{wanted}}: {{used}}']]),
  row('HTTP'),
  graph(8, 'Requests', 'reqps', [[`sum by (handler) (rate(http_requests_total{${http}}${rate}))`, '{{handler}}']]),
  graph(8, 'Answer time', 's', [
    [quantile(0.5, 'http_request_duration_seconds', http), 'p50'],
    [quantile(0.95, 'http_request_duration_seconds', http), 'p95'],
    [quantile(0.99, 'http_request_duration_seconds', http), 'p99']
  ]),
  graph(8, 'In progress', 'short', [[`sum by (method) (http_requests_in_progress{${http}})`, '{{method}}']]),
  stat(8, 'Success, not 5xx', 'percentunit', [
    `1 - (sum(rate(http_requests_total{${http}, status=~"5.."}${rate})) or vector(0)) / sum(rate(http_requests_total{${http}}${rate}))`
  ]),
  graph(16, 'Status codes', 'reqps', [[`sum by (status) (rate(http_requests_total{${http}}${rate}))`, '{{status}}']])
];

function row(title) {
  return { width: 24, height: 1, type: 'row', title, collapsed: false, panels: [] };
}

function panel(type, width, height, title, unit, queries, options) {
  const targets = queries.map((query, i) => {
    const [expr, legendFormat] = [query].flat();
    return { refId: 'ABC'[i], datasource, expr, ...(legendFormat && { legendFormat }) };
  });
  return {
    width,
    height,
    type,
    title,
    datasource,
    targets,
    fieldConfig: { defaults: { unit }, overrides: [] },
    options
  };
}

function stat(width, title, unit, queries) {
  return panel('stat', width, 4, title, unit, queries, { reduceOptions: { calcs: ['lastNotNull'] } });
}

function graph(width, title, unit, queries) {
  return panel('timeseries', width, 8, title, unit, queries, { legend: { showLegend: true, placement: 'bottom' } });
}

function heatmap(width, title, queries) {
  const shown = panel('heatmap', width, 8, title, 'short', queries, { calculate: false });
  shown.targets.forEach(target => Object.assign(target, { format: 'heatmap', legendFormat: '{{le}}' }));
  return shown;
}

/** Left to right, as many in a row as fit. */
function placed(all) {
  let [x, y, tallest] = [0, 0, 0];
  return all.map(({ width, height, ...rest }, i) => {
    if (x + width > 24) [x, y, tallest] = [0, y + tallest, 0];
    const gridPos = { x, y, w: width, h: height };
    [x, tallest] = [x + width, Math.max(tallest, height)];
    return { id: i + 1, ...rest, gridPos };
  });
}

const choice = (name, label) => ({
  name,
  label,
  type: 'query',
  datasource,
  definition: `label_values(anomaly_parts_scored_total, ${name})`,
  query: { query: `label_values(anomaly_parts_scored_total, ${name})`, refId: name },
  includeAll: true,
  multi: true,
  allValue: '.*',
  current: { text: 'All', value: '$__all' },
  refresh: 2
});

const dashboard = {
  uid: 'goodparts',
  title: 'Goodparts: visual inspection',
  tags: ['goodparts'],
  timezone: 'browser',
  schemaVersion: 39,
  refresh: '10s',
  time: { from: 'now-1h', to: 'now' },
  templating: {
    list: [
      { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' },
      choice('instance', 'Node-RED'),
      choice('recipe', 'Recipe')
    ]
  },
  annotations: { list: [] },
  panels: placed(panels)
};

const text = JSON.stringify(dashboard, null, 2) + '\n';
const before = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
if (before !== text) {
  if (!process.argv.includes('--check')) fs.writeFileSync(file, text);
  else {
    console.error('docs/monitoring/dashboard.json is not what scripts/build-dashboard.mjs says: run it');
    process.exitCode = 1;
  }
}
