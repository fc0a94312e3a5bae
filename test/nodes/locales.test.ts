import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from '../support';
import { TYPES, catalog, editorPage, fill, localeFolder, type Type } from './editor-page';

const LANGUAGES = ['de', 'en-US', 'es', 'fr', 'ja', 'pt-BR', 'zh-CN'];

/** What the runtime fills in, as long as it gets in a plant. */
const TYPICAL = { count: 99_999, percent: 100, version: 'v99', name: 'bottle' };

/** The files whose `status.key` and `status.event` calls a node's texts answer. */
const RUNTIMES: Partial<Record<Type, string[]>> = {
  'anomaly-fit': ['fitter.ts', 'fit-slot.ts', 'nodes.ts'],
  'anomaly-score': ['scorer.ts', 'score-status.ts', 'nodes.ts'],
  heatmap: ['heatmaps.ts'],
  threshold: ['judge.ts', 'nodes.ts']
};

const placeholders = (text: string) => [...text.matchAll(/__\w+?__/g)].map(String).sort();

function statusKeys(files: string[]): string[] {
  const text = files.map(file => fs.readFileSync(path.join(ROOT, 'lib/red', file), 'utf8')).join('\n');
  const calls = [...text.matchAll(/status\s*\.(?:key|event)\(\s*'\w+',\s*'\w+',\s*'(\w+)'/g)];
  const direct = [...text.matchAll(/_\('status\.(\w+)'\)/g)];
  return [...new Set([...calls, ...direct].map(match => match[1]))];
}

describe('texts of the editor', () => {
  for (const type of TYPES) {
    const english = () => catalog(type, 'en-US');

    describe(type, () => {
      it('is there in seven languages, each with a help page', () => {
        assert.deepEqual(fs.readdirSync(localeFolder(type)).sort(), LANGUAGES);
        for (const language of LANGUAGES) {
          const help = fs.readFileSync(path.join(localeFolder(type), language, `${type}.html`), 'utf8');
          assert.match(
            help,
            new RegExp(`<script type="text/(html|markdown)" data-help-name="${type}">\\s*\\S`),
            language
          );
        }
      });

      it('has the same keys and placeholders in every language, and no empty text', () => {
        for (const language of fs.readdirSync(localeFolder(type))) {
          const texts = catalog(type, language);
          assert.deepEqual(Object.keys(texts).sort(), Object.keys(english()).sort(), language);
          for (const [key, text] of Object.entries(texts)) {
            assert.ok(text.trim(), `${language} ${key} is empty`);
            assert.deepEqual(placeholders(text), placeholders(english()[key]), `${language} ${key}`);
          }
        }
      });

      it('has a dialog entry with a label for every field, and a text for every key in the dialog', () => {
        const { dialog, definition } = editorPage(type);
        const prefix = type === 'anomaly-model' ? 'node-config-input' : 'node-input';
        for (const field of Object.keys(definition.defaults)) {
          assert.ok(dialog.includes(`id="${prefix}-${field}"`), `${field} is not in the dialog`);
          const hidden = new RegExp(`<input type="hidden" id="${prefix}-${field}"`).test(dialog);
          assert.ok(hidden || dialog.includes(`for="${prefix}-${field}"`), `${field} has no label`);
        }
        const keys = [...dialog.matchAll(/data-i18n="(?:\[\w+\])?([^"]+)"/g)].map(match => match[1]);
        assert.ok(keys.length > 5);
        for (const key of keys) assert.ok(english()[key], `no text for ${key}`);
      });

      if (type in RUNTIMES)
        it('has exactly the status texts that the runtime shows, each under 20 characters', () => {
          // threshold's verdicts are keys, too
          const verdicts = type === 'threshold' ? ['ok', 'review', 'ng'] : [];
          const wanted = [...statusKeys(RUNTIMES[type]!), ...verdicts].map(key => `status.${key}`);
          const known = Object.keys(english()).filter(key => key.startsWith('status.'));
          assert.deepEqual(known.sort(), [...new Set(wanted)].sort());
          for (const language of fs.readdirSync(localeFolder(type)))
            for (const key of known) {
              const text = fill(catalog(type, language)[key], TYPICAL);
              assert.ok(text.length < 20, `${language} ${key}: '${text}' has ${text.length} characters`);
            }
        });
    });
  }
});
