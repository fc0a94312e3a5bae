/* global $ */
/* eslint-disable @typescript-eslint/no-unused-vars -- the build puts this file into anomaly-model's editor page */
/** The preview of the reference picture that is saved with the flow: characters at most, and its longest side to begin with. */
const PREVIEW = { most: 65536, side: 960 };
/** Drawing units over the width of the picture. */
const UNITS = 1000;
/** Sizes in pixels of the screen: a corner, and what of it a finger meets. */
const DOT = { corner: 6, middle: 4, touch: 14 };

const isPolygon = points =>
  Array.isArray(points) &&
  points.length >= 3 &&
  points.every(point => Array.isArray(point) && point.length === 2 && point.every(n => n >= 0 && n <= 1));

/** The polygons in the node's setting, as `{kind, points}`; undefined where it holds something else. */
function shapesOf(text) {
  if (!text) return [];
  try {
    const { include, exclude } = JSON.parse(text);
    const shapes = [
      ...include.map(points => ({ kind: 'include', points })),
      ...exclude.map(points => ({ kind: 'exclude', points }))
    ];
    return shapes.every(({ points }) => isPolygon(points)) ? shapes : undefined;
  } catch {
    return undefined;
  }
}

const svgElement = (name, attributes = {}) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

/** A small JPEG of a picture as a data URI, its quality and size as they fit. */
function previewOf(image) {
  for (let side = PREVIEW.side; ; side *= 0.8) {
    const scale = Math.min(1, side / Math.max(image.naturalWidth, image.naturalHeight));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
    canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
    canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
    const uri = canvas.toDataURL('image/jpeg', 0.8);
    if (uri.length <= PREVIEW.most) return uri;
  }
}

/** Include and exclude polygons over a reference picture, by mouse, touch and keyboard. */
function showRegion(node) {
  const [field, saved, file, image, hint] = [
    '#node-config-input-region',
    '#node-config-input-regionPicture',
    '#goodparts-region-file',
    '#goodparts-region-image',
    '#goodparts-region-hint'
  ].map(name => $(name));
  const stage = document.getElementById('goodparts-region-stage');
  const svg = stage.querySelector('svg');
  const tool = name => $(`#goodparts-region-${name}`);
  const t = (key, values) => node._(`region.${key}`, values);
  let shapes = shapesOf(field.val()) ?? [];
  let history = [];
  /** the polygon that is being drawn; what of the others is chosen: `{shape, point}` by their index, or a shape alone */
  let drawing;
  let chosen = {};
  let dragging;
  let shown;

  const copy = value => JSON.parse(JSON.stringify(value));
  const remember = () => history.push(copy(shapes));
  const all = () => (drawing?.points.length >= 3 ? [...shapes, drawing] : shapes);

  /** What is drawn goes into the dialog's field at once, so that Done never loses it. */
  function save() {
    const of = kind => all().flatMap(shape => (shape.kind === kind ? [shape.points] : []));
    const round = (_, value) => (typeof value === 'number' ? Math.round(value * 1e4) / 1e4 : value);
    const region = { include: of('include'), exclude: of('exclude') };
    field.val(all().length ? JSON.stringify(region, round) : '').trigger('change');
    draw();
  }

  /* ---- the drawing ---- */
  const height = () => UNITS * (image[0].naturalHeight / image[0].naturalWidth || 0.75);
  const unit = () => UNITS / (svg.getBoundingClientRect().width || UNITS);
  const place = ([x, y]) => [x * UNITS, y * height()];
  const outline = points => points.map(point => place(point).join(' ')).join(' ');

  function dot(point, radius, data) {
    const [cx, cy] = place(point);
    const group = svgElement('g', { class: 'goodparts-dot' });
    group.append(svgElement('circle', { cx, cy, r: radius * unit() }));
    group.append(svgElement('circle', { cx, cy, r: DOT.touch * unit(), class: 'goodparts-touch' }));
    for (const child of group.children) Object.assign(child.dataset, data);
    return group;
  }

  /** A veil over what is not inspected. */
  function veil() {
    const mask = svgElement('mask', { id: 'goodparts-region-mask' });
    const everything = fill => svgElement('rect', { width: UNITS, height: height(), fill });
    const included = shapes.filter(({ kind }) => kind === 'include');
    mask.append(everything(included.length ? 'white' : 'black'));
    for (const kind of ['include', 'exclude'])
      for (const shape of shapes.filter(one => one.kind === kind))
        mask.append(
          svgElement('polygon', { points: outline(shape.points), fill: kind === 'include' ? 'black' : 'white' })
        );
    const rect = everything('');
    rect.setAttribute('class', 'goodparts-veil');
    rect.setAttribute('mask', 'url(#goodparts-region-mask)');
    return [mask, rect];
  }

  function polygonOf({ kind, points }, index) {
    const group = svgElement('g', { class: `goodparts-polygon goodparts-${kind}` });
    if (index === chosen.shape) group.classList.add('goodparts-chosen');
    const name = shapes[index] ? 'polygon' : 'polyline';
    for (const role of ['halo', 'line']) {
      const line = svgElement(name, { points: outline(points), class: `goodparts-${role}` });
      if (shapes[index]) line.dataset.shape = index;
      group.append(line);
    }
    const isOpen = !shapes[index];
    if (!isOpen && index === chosen.shape)
      points.forEach((point, i) => {
        const next = points[(i + 1) % points.length];
        const middle = [(point[0] + next[0]) / 2, (point[1] + next[1]) / 2];
        group.append(dot(middle, DOT.middle, { shape: index, before: i + 1 }));
      });
    points.forEach((point, i) => {
      const corner = dot(point, DOT.corner, isOpen ? { first: i === 0 } : { shape: index, point: i });
      if (!isOpen && index === chosen.shape && i === chosen.point) corner.classList.add('goodparts-chosen');
      group.append(corner);
    });
    return group;
  }

  function draw() {
    svg.setAttribute('viewBox', `0 0 ${UNITS} ${height()}`);
    svg.replaceChildren(...veil(), ...shapes.map(polygonOf), ...(drawing ? [polygonOf(drawing, shapes.length)] : []));
    for (const kind of ['include', 'exclude'])
      tool(kind)
        .toggleClass('selected', drawing?.kind === kind)
        .attr('aria-pressed', drawing?.kind === kind);
    tool('finish').prop('disabled', !(drawing?.points.length >= 3));
    tool('undo').prop('disabled', !history.length && !drawing);
    tool('point').prop('disabled', !(shapes[chosen.shape]?.points.length > 3) || chosen.point === undefined);
    tool('polygon').prop('disabled', !drawing && !shapes[chosen.shape]);
    tool('forget').prop('disabled', !saved.val());
    hint.text(t(drawing ? 'drawing' : shapes.length ? 'choose' : 'none'));
  }

  /* ---- what can be done ---- */
  function begin(kind) {
    finish();
    drawing = { kind, points: [] };
    chosen = {};
    save();
    stage.focus();
  }

  function finish() {
    if (drawing?.points.length >= 3) {
      remember();
      shapes.push(drawing);
      chosen = { shape: shapes.length - 1 };
    }
    drawing = undefined;
    save();
  }

  function removePoint() {
    remember();
    shapes[chosen.shape].points.splice(chosen.point, 1);
    chosen = { shape: chosen.shape };
    save();
  }

  function removePolygon() {
    if (!drawing) {
      remember();
      shapes.splice(chosen.shape, 1);
    }
    drawing = undefined;
    chosen = {};
    save();
  }

  function undo() {
    if (drawing?.points.length) drawing.points.pop();
    else if (drawing) drawing = undefined;
    else if (history.length) shapes = history.pop();
    if (!shapes[chosen.shape]) chosen = {};
    chosen.point = undefined;
    save();
  }

  /** The step of an arrow key. */
  function nudge(dx, dy) {
    remember();
    const point = shapes[chosen.shape].points[chosen.point];
    point[0] = Math.min(1, Math.max(0, point[0] + dx));
    point[1] = Math.min(1, Math.max(0, point[1] + dy));
    save();
  }

  const step = 0.002;
  const isPointChosen = () => shapes[chosen.shape]?.points[chosen.point] !== undefined;
  const arrow = (dx, dy) => isPointChosen() && (() => nudge(dx * step, dy * step));
  /** What a key does now; nothing where it is the editor's. */
  function actionOf({ key, ctrlKey, metaKey }) {
    if (ctrlKey || metaKey) return key.toLowerCase() === 'z' && undo;
    const removal = () => {
      if (drawing) return undo;
      if (isPointChosen() && shapes[chosen.shape].points.length > 3) return removePoint;
      return shapes[chosen.shape] && removePolygon;
    };
    const actions = {
      Enter: () => drawing && finish,
      Escape: () => (drawing ? removePolygon : shapes[chosen.shape] && (() => draw((chosen = {})))),
      Delete: removal,
      Backspace: removal,
      ArrowLeft: () => arrow(-1, 0),
      ArrowRight: () => arrow(1, 0),
      ArrowUp: () => arrow(0, -1),
      ArrowDown: () => arrow(0, 1)
    };
    return Object.hasOwn(actions, key) && actions[key]();
  }

  stage.addEventListener('keydown', event => {
    const action = actionOf(event);
    if (!action) return;
    // Esc would close the dialog, Delete remove a node
    event.preventDefault();
    event.stopPropagation();
    action();
  });

  /* ---- mouse and touch ---- */
  function shareOf({ clientX, clientY }) {
    const { left, top, width: w, height: h } = svg.getBoundingClientRect();
    return [(clientX - left) / w, (clientY - top) / h].map(n => Math.min(1, Math.max(0, n)));
  }

  function take(target, at) {
    const { shape, point, before } = target.dataset;
    if (shape === undefined) chosen = {};
    else chosen = { shape: Number(shape), point: point === undefined ? undefined : Number(point) };
    if (point === undefined && before === undefined) return;
    dragging = copy(shapes);
    if (before === undefined) return;
    shapes[chosen.shape].points.splice(Number(before), 0, at);
    chosen.point = Number(before);
  }

  svg.addEventListener('pointerdown', event => {
    if (event.button !== 0 || !event.isPrimary) return;
    const at = shareOf(event);
    stage.focus({ preventScroll: true });
    event.preventDefault();
    if (!drawing) take(event.target, at);
    else if (event.target.dataset.first === 'true' && drawing.points.length >= 3) return void finish();
    else drawing.points.push(at);
    if (dragging) svg.setPointerCapture(event.pointerId);
    save();
  });

  svg.addEventListener('pointermove', event => {
    if (!dragging) return;
    shapes[chosen.shape].points[chosen.point] = shareOf(event);
    draw();
  });

  const drop = () => {
    if (!dragging) return;
    if (JSON.stringify(dragging) !== JSON.stringify(shapes)) history.push(dragging);
    dragging = undefined;
    save();
  };
  svg.addEventListener('pointerup', drop);
  svg.addEventListener('pointercancel', drop);

  /* ---- the reference picture ---- */
  function show(source) {
    $(stage).toggleClass('goodparts-empty', !source);
    image.attr('src', source || null);
    if (!source) layOut();
  }

  function layOut() {
    const ratio = UNITS / height();
    $(stage).css({ aspectRatio: ratio, maxWidth: `calc(60vh * ${ratio})` });
    draw();
  }

  /** The picture itself stays in the browser; a small copy goes into the flow, for whoever opens the dialog next. */
  async function load(picture) {
    if (!picture) return;
    const source = URL.createObjectURL(picture);
    const probe = new Image();
    probe.src = source;
    try {
      await probe.decode();
    } catch {
      URL.revokeObjectURL(source);
      return void hint.text(t('unreadable', { name: picture.name }));
    }
    if (shown) URL.revokeObjectURL(shown);
    shown = source;
    saved.val(previewOf(probe)).trigger('change');
    show(source);
  }

  image.on('load', layOut);
  tool('load').on('click', () => file.trigger('click'));
  file.on('change', () => {
    void load(file[0].files[0]);
    file.val('');
  });
  for (const name of ['dragover', 'drop'])
    stage.addEventListener(name, event => {
      event.preventDefault();
      event.stopPropagation();
      if (name === 'drop') void load(event.dataTransfer.files[0]);
    });
  tool('forget').on('click', () => show(saved.val('').trigger('change').val()));

  for (const kind of ['include', 'exclude']) tool(kind).on('click', () => begin(kind));
  for (const [name, act] of Object.entries({ finish, undo, point: removePoint, polygon: removePolygon }))
    tool(name).on('click', () => {
      act();
      stage.focus();
    });
  // dots have a size on the screen, which is not known before the tab is seen
  new ResizeObserver(draw).observe(stage);
  show(saved.val());
}
