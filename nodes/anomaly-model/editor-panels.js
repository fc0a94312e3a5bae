/* global $ */
/* eslint-disable @typescript-eslint/no-unused-vars -- the build puts this file into anomaly-model's editor page */
const problemOf = ({ responseJSON, statusText }) => responseJSON?.message ?? statusText;

const note = (place, text) => place.empty().append($('<div class="goodparts-note">').text(text));

/** The settings as the dialog shows them, saved or not; the id tells whose environment variables are meant. */
const shownSettings = node => ({
  ...Object.fromEntries(Object.keys(node._def.defaults).map(field => [field, $(`#node-config-input-${field}`).val()])),
  id: node.id
});

const listLine = (icon, title, detail) =>
  $('<li>').append($('<i class="fa">').addClass(icon), $('<b>').text(title), $('<span>').text(detail));

const checkLine = (ok, title, detail) => listLine(ok ? 'fa-check' : 'fa-times', title, detail);

/** Has the runtime try the settings, and lists what runs where. */
async function testSettings(node) {
  const [list, button] = [$('#goodparts-checks'), $('#goodparts-test')];
  button.prop('disabled', true);
  note(list, node._('test.running'));
  $('#goodparts-plan').empty();
  try {
    const data = JSON.stringify(shownSettings(node));
    const report = await $.ajax({ url: 'goodparts/test', method: 'POST', contentType: 'application/json', data });
    showReport(node, list.empty(), report);
    const needed = ['Settings', 'Backbone', 'Second backbone', 'Network'];
    if (report.checks.every(({ ok, what }) => ok || !needed.includes(what))) await showPlan(node);
  } catch (error) {
    const message = problemOf(error);
    note(list, error.status === 404 ? node._('test.missing') : node._('test.failed', { message }));
  } finally {
    button.prop('disabled', false);
  }
}

/** Which device is used; why it is not the wanted one stands in the check of computing. */
function showReport(node, list, { device, checks }) {
  const asWanted = device.used !== 'wasm' && (device.wanted === 'auto' || device.wanted === device.used);
  const text = node._(asWanted ? 'test.device' : 'test.deviceInstead', device);
  list.append(checkLine(asWanted, node._('label.device'), text));
  for (const { what, ok, detail } of checks) {
    const key = `check.${what.toLowerCase().replace(/[^a-z]/g, '')}`;
    list.append(checkLine(ok, node._(key, { defaultValue: what }), detail));
  }
}

/** Lists the versions in the store of the deployed model; any of them can be made the current one. */
async function showVersions(node) {
  const place = $('#goodparts-versions');
  try {
    const versions = await $.getJSON('goodparts/detectors', { id: node.id });
    if (versions.length === 0) return note(place, node._('versions.none'));
    versions.sort((a, b) => a.name.localeCompare(b.name) || Date.parse(b.created) - Date.parse(a.created));
    const head = ['detector', 'version', 'created', 'images', 'bank'].map(key =>
      $('<th>').text(node._(`versions.${key}`))
    );
    const rows = versions.map(version => versionRow(node, version));
    place.empty().append($('<table class="goodparts-versions">').append($('<tr>').append(head, $('<th>')), rows));
  } catch (error) {
    const known = error.responseJSON?.code === 'input-missing';
    note(place, known ? node._('versions.notDeployed') : node._('versions.failed', { message: problemOf(error) }));
  }
  return undefined;
}

function versionRow(node, { name, version, created, images, bankSize = '', current }) {
  const cells = [name, version, new Date(created).toLocaleString(), images, bankSize].map(text => $('<td>').text(text));
  const choice = current
    ? $('<span>').append($('<i class="fa fa-check">'), ' ', document.createTextNode(node._('versions.current')))
    : $('<button type="button" class="red-ui-button red-ui-button-small">')
        .text(node._('versions.activate'))
        .on('click', () => makeCurrent(node, name, version));
  return $('<tr>').append(cells, $('<td>').append(choice));
}

async function makeCurrent(node, name, version) {
  const data = JSON.stringify({ id: node.id, name, version });
  try {
    await $.ajax({ url: 'goodparts/activate', method: 'POST', contentType: 'application/json', data });
    await showVersions(node);
  } catch (error) {
    note($('#goodparts-versions'), node._('versions.failed', { message: problemOf(error) }));
  }
}
