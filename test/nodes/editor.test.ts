import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { PRESETS } from '../../lib/engine/presets';
import { ROOT } from '../support';
import { TYPES, editorNode, editorPage, type Type } from './editor-page';

const MODEL = '0123456789abcdef';
const NAMELESS = 'fedcba9876543210';

/** Validates one field of a node that has these settings beside the defaults. */
function validate(type: Type, field: string, settings: Record<string, unknown>): unknown {
  const { definition } = editorPage(type, { [MODEL]: { detector: 'bottle' }, [NAMELESS]: { detector: '' } });
  const defaults = Object.fromEntries(Object.entries(definition.defaults).map(([name, { value }]) => [name, value]));
  const node = editorNode(type, { ...defaults, ...settings });
  return definition.defaults[field].validate!.call(node, { ...defaults, ...settings }[field as never], {});
}

describe('editor pages', () => {
  for (const type of TYPES)
    it(`${type}: a new node with a model and a detector is valid`, () => {
      for (const [field, { validate: has }] of Object.entries(editorPage(type).definition.defaults))
        if (has) assert.equal(validate(type, field, { model: MODEL, detector: 'bottle' }), true, field);
    });

  it('say which number is wrong and what it may be', () => {
    assert.equal(
      validate('anomaly-score', 'batch', { batch: '2.5' }),
      'Images at a time: enter a whole number from 1 to 256'
    );
    assert.match(String(validate('anomaly-fit', 'completeAfter', { completeAfter: '-1' })), /^After so many images: /);
    assert.match(String(validate('anomaly-model', 'coresetRatio', { coresetRatio: '0' })), /^Coreset ratio: /);
    assert.match(String(validate('anomaly-model', 'keepVersions', { keepVersions: '' })), /^Versions to keep: /);
    const weights = (layerWeights: string) => validate('anomaly-model', 'layerWeights', { layerWeights });
    assert.match(String(weights('1, x')), /^Layer weights: /);
    assert.equal(weights('1, 0.5'), true);
    assert.equal(validate('heatmap', 'quality', { quality: 'x', format: 'png' }), true, 'PNG has no quality');
    assert.match(String(validate('heatmap', 'quality', { quality: 'x' })), /^Quality: /);
  });

  it('ask for a model only where its good parts are needed', () => {
    assert.match(String(validate('anomaly-fit', 'model', { model: '' })), /^Choose a model/);
    assert.match(String(validate('threshold', 'model', { model: '' })), /^Choose a model/);
    assert.equal(validate('threshold', 'model', { model: '', method: 'fixed' }), true);
    const pixels = { model: '', method: 'fixed', pixelMethod: 'sigma' };
    assert.match(String(validate('threshold', 'model', pixels)), /^Choose a model/);
  });

  it('accept only detector names that the store accepts', () => {
    for (const detector of ['..', 'a/b', '../x', 'x'.repeat(65), 'é'])
      assert.match(String(validate('anomaly-model', 'detector', { detector })), /^Detector name: /, detector);
    for (const detector of ['bottle', 'A-1_b.c', '42', ''])
      assert.equal(validate('anomaly-model', 'detector', { detector }), true);
  });

  it('want a detector where the messages do not name it', () => {
    for (const [type, settings, valid] of [
      ['anomaly-fit', { recipe: '' }, false],
      ['anomaly-score', { recipe: '' }, false],
      ['anomaly-score', { recipe: 'product' }, true],
      ['threshold', {}, true]
    ] as const) {
      const said = validate(type, 'model', { model: NAMELESS, ...settings });
      if (valid) assert.equal(said, true, type);
      else assert.match(String(said), /^The model's settings are not complete/, type);
    }
  });

  it('check the limits of threshold against each other and their method', () => {
    const review = { review: true, value: '3', method: 'sigma' };
    assert.match(String(validate('threshold', 'reviewValue', { ...review, reviewValue: '3' })), /lower/);
    assert.equal(validate('threshold', 'reviewValue', { ...review, reviewValue: '2' }), true);
    assert.match(String(validate('threshold', 'value', { value: '101' })), /from 0 to 100/);
    assert.equal(validate('threshold', 'value', { value: '101', method: 'fixed' }), true);
    assert.match(
      String(validate('threshold', 'pixelValue', { pixelMethod: 'fixed', pixelValue: '' })),
      /enter a number/
    );
  });

  it("check the ends of heatmap's fixed scale", () => {
    const fixed = { scale: 'fixed', min: '2', max: '1' };
    assert.match(String(validate('heatmap', 'min', fixed)), /lower/);
    assert.equal(validate('heatmap', 'min', { ...fixed, max: '' }), true, 'an empty end comes from the detector');
    assert.equal(validate('heatmap', 'min', { ...fixed, scale: 'detector' }), true);
  });

  it('name the outputs in their order', () => {
    const { definition } = editorPage('threshold');
    const names = (outputs: number) =>
      Array.from({ length: outputs }, (_, i) => definition.outputLabels!.call(editorNode('threshold', { outputs }), i));
    assert.deepEqual(names(2), ['OK', 'NG']);
    assert.deepEqual(names(3), ['OK', 'REVIEW', 'NG']);
  });

  it('call a node by its name, else by its detector', () => {
    const { definition } = editorPage('anomaly-score', { [MODEL]: { detector: 'bottle' } });
    const label = (fields: object) => definition.label.call(editorNode('anomaly-score', { model: MODEL, ...fields }));
    assert.equal(label({ name: 'station 3' }), 'station 3');
    assert.equal(label({ recipe: '' }), 'score bottle');
    assert.equal(label({ recipe: 'recipe' }), 'anomaly score', 'the message says which detector');
  });

  it('have their icons, and leave colours to the theme', () => {
    for (const type of TYPES) {
      const { dialog, definition } = editorPage(type);
      if (definition.icon)
        assert.ok(fs.existsSync(path.join(ROOT, 'dist/nodes', type, 'icons', definition.icon)), type);
      assert.doesNotMatch(dialog, /(color|background|border)[^;]*(#[0-9a-f]{3,8}\b|rgb|hsl)/i, type);
    }
  });

  it("show the presets' values in the empty fields", () => {
    const page = fs.readFileSync(path.join(ROOT, 'nodes/anomaly-model/anomaly-model.html'), 'utf8');
    for (const [name, { settings }] of Object.entries(PRESETS)) {
      const shown = new RegExp(`'?${name}'?: \\{\\s*(inputWidth[^}]*?)\\s*\\}`).exec(page)?.[1] ?? '';
      const values = shown.split(/,\s*/).map(pair => pair.split(': '));
      assert.equal(values.length, 6, `${name} in anomaly-model.html`);
      for (const [field, value] of values) assert.equal(Number(value), settings[field as never], `${name} ${field}`);
    }
  });
});
