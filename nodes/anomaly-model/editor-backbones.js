/* global $, problemOf */
/* eslint-disable @typescript-eslint/no-unused-vars -- the build puts this file into anomaly-model's editor page */
/** Entries of the drop-down that are no backbone of the library; an id cannot look like them. */
const BY_PATH = '/';

/** The drop-downs of backbones, and what the dialog says about the chosen ones. */
function showBackbones(node) {
  const t = (key, values) => node._(`backbone.${key}`, values);
  const place = () => ({ id: node.id, store: $('#node-config-input-store').val() });
  const isOpen = () => document.contains($('#goodparts-backbone')[0]);
  const isListed = id => listed.some(one => one.id === id);
  let listed = [];
  let timer;
  let waiting = false;

  const percentOf = ({ done, bytes }) => (bytes ? Math.floor((100 * done) / bytes) : 0);
  const sizeOf = ({ bytes }) =>
    bytes === null ? t('unknown') : t('size', { size: (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0) });
  const stateOf = one => node._(`state.${one.state}`, { percent: percentOf(one) });
  const summaryOf = one => [one.id, sizeOf(one), one.licence ?? t('noLicence'), stateOf(one)].join(' · ');

  const option = (value, text) => $('<option>').val(value).text(text);
  const group = (key, source) => {
    const mine = listed.filter(one => one.source === source);
    const named = one => summaryOf(one) + (one.default ? ` (${t('recommended')})` : '');
    return mine.length
      ? $('<optgroup>')
          .attr('label', t(key))
          .append(mine.map(one => option(one.id, named(one))))
      : '';
  };

  /** One drop-down. @param blank what an empty field means @param first what stands in front of the catalogue, values and texts */
  function chooser(name, blank, first) {
    const [field, choice, facts] = [`node-config-input-${name}`, `goodparts-${name}`, `goodparts-${name}-facts`].map(
      id => $(`#${id}`)
    );
    const values = first.map(([value]) => value);
    const isOffered = value => values.includes(value) || isListed(value);

    /** What is chosen stays chosen, also where the list comes anew. */
    function fill() {
      const value = String(field.val() ?? '').trim() || blank;
      const ends = first.map(([id, text]) => option(id, text));
      choice.empty().append(ends, group('catalogue', 'catalogue'), group('imported', 'imported'));
      choice.append(option(BY_PATH, t('file'))).val(isOffered(value) ? value : BY_PATH);
      show();
    }

    function show() {
      $(`#goodparts-${name}-path`).toggle(choice.val() === BY_PATH);
      $(`#goodparts-${name}-weight`).toggle(choice.val() !== '');
      const one = listed.find(({ id }) => id === choice.val());
      // a tick or a keyboard focus is not lost each second
      const now = JSON.stringify(one ?? null);
      if (facts.data('shown') === now) return;
      facts.data('shown', now).empty();
      if (one) facts.append(...factsOf(one));
    }

    choice.on('change', () => {
      const chosen = choice.val();
      if (chosen !== BY_PATH) field.val(chosen).trigger('change');
      else if (isOffered(field.val())) field.val('').trigger('change');
      show();
    });
    return fill;
  }

  function factsOf(one) {
    const { state, error, caveat, licence, files, folder } = one;
    const icon = { there: 'fa-check', damaged: 'fa-times', downloading: 'fa-spinner fa-pulse' }[state] ?? 'fa-circle-o';
    const lines = [$('<div>').append($('<i class="fa">').addClass(icon), ' ', document.createTextNode(stateOf(one)))];
    if (state === 'downloading' && one.bytes)
      lines.push($('<progress>').attr({ max: 100, value: percentOf(one), 'aria-label': stateOf(one) }));
    if (caveat)
      lines.push($('<div>').append($('<b>').text(licence), ' ', document.createTextNode(node._(`caveat.${caveat}`))));
    if (error) lines.push($('<div class="goodparts-problem">').text(error));
    if (state !== 'there' && state !== 'downloading' && one.source === 'catalogue') {
      lines.push($('<div>').text(t('place')), $('<code>').text(folder));
      for (const { name, sha256, url } of files) {
        // for the browser of somebody who has internet where Node-RED has none
        const link = $('<a target="_blank" rel="noopener noreferrer">').attr('href', url).text(name);
        lines.push(
          link,
          $('<div>')
            .text(`${t('checksum')} `)
            .append($('<code>').text(sha256))
        );
      }
    }
    return [...lines, buttonsOf(one)];
  }

  const button = (key, act) =>
    $('<button type="button" class="red-ui-button red-ui-button-small">').text(t(key)).on('click', act);

  function buttonsOf(one) {
    const { id, state, own, optIn, licence, source } = one;
    const row = $('<div class="goodparts-buttons">');
    if (state === 'downloading') return own ? row.append(button('cancel', () => ask('cancel', id))) : row;
    if (source === 'catalogue' && state !== 'there') {
      const accept = $('<input type="checkbox">');
      const download = button('download', () => ask('pull', id, { accepted: accept.prop('checked') }));
      if (optIn) {
        download.prop('disabled', true);
        accept.on('change', () => download.prop('disabled', !accept.prop('checked')));
        row.append($('<label>').append(accept, ' ', document.createTextNode(t('accept', { licence }))));
      }
      row.append(download);
    }
    if (state !== 'missing') row.append(button('remove', () => remove(id, false)));
    return row;
  }

  const say = (text, more = '') =>
    $('#goodparts-backbone-note').empty().append($('<div class="goodparts-note">').text(text).append(' ', more));

  async function ask(what, backbone, more = {}) {
    const data = JSON.stringify({ ...place(), backbone, ...more });
    $('#goodparts-backbone-note').empty();
    try {
      await $.ajax({ url: `goodparts/backbones/${what}`, method: 'POST', contentType: 'application/json', data });
    } catch (error) {
      const forced = error.responseJSON?.code === 'backbone-in-use' && what === 'remove' && !more.force;
      say(t('failed', { message: problemOf(error) }), forced ? button('force', () => remove(backbone, true)) : '');
    }
    await refresh();
  }

  const remove = (id, force) => ask('remove', id, { force });

  /** Reads the list, and again each second as long as something is coming. */
  async function refresh() {
    clearTimeout(timer);
    if (!isOpen()) return;
    try {
      listed = await $.getJSON('goodparts/backbones', place());
    } catch (error) {
      listed = [];
      if (error.status !== 404) say(t('failed', { message: problemOf(error) }));
    }
    if (!isOpen()) return;
    fill();
    if (listed.some(one => one.state === 'downloading')) timer = setTimeout(refresh, 1000);
  }

  /** Sends a file of this computer to Node-RED. */
  async function send(file) {
    if (!file || waiting) return;
    waiting = true;
    const told = percent => say(t('importing', { name: file.name, percent }));
    const xhr = () => {
      const request = $.ajaxSettings.xhr();
      request.upload.addEventListener('progress', ({ loaded, total }) =>
        told(Math.floor((100 * loaded) / (total || 1)))
      );
      return request;
    };
    told(0);
    try {
      const url = `goodparts/backbones/upload?${$.param({ ...place(), name: file.name })}`;
      const contentType = 'application/octet-stream';
      const { id, missing } = await $.ajax({ url, method: 'POST', data: file, contentType, processData: false, xhr });
      say(t('done', { id }) + (missing.length ? `. ${t('more', { files: missing.join(', ') })}` : ''));
      $('#node-config-input-backbone').val(id);
    } catch (error) {
      say(t('failed', { message: problemOf(error) }));
    } finally {
      waiting = false;
    }
    await refresh();
  }

  const embedded = ['embedded', t('embedded')];
  const fills = [
    chooser('backbone', 'embedded', [embedded]),
    chooser('secondBackbone', '', [['', t('none')], embedded])
  ];
  const fill = () => fills.forEach(one => one());
  $('#node-config-input-store').on('change', refresh);
  const upload = $('#goodparts-backbone-upload').on('change', function () {
    void send(this.files[0]);
    this.value = '';
  });
  $('#goodparts-backbone-import').on('click', () => upload.trigger('click'));
  fill();
  void refresh();
}
