/** Whether what an HTTP flow answers is what its OpenAPI document says. The validators are of other authors, installed for the tests. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { palette } from './palette';

const VALIDATORS = { '@seriousme/openapi-schema-validator': '^2.11.0', ajv: '^8.20.0', 'ajv-formats': '^3.0.1' };

export interface Document {
  info: { title: string };
  paths: Record<string, Record<string, { responses: Record<string, { content?: Record<string, object> }> }>>;
}

interface Ajv {
  addSchema(schema: object, key: string): void;
  validate(schema: object, value: unknown): boolean;
  errorsText(): string;
}

interface Validator {
  validate(document: object): Promise<{ valid: boolean; errors?: unknown }>;
}

export class Contract {
  private constructor(
    readonly document: Document,
    private readonly ajv: Ajv
  ) {}

  /** @throws AssertionError where the document is none of OpenAPI 3.1 */
  static async of(document: Document): Promise<Contract> {
    const modules = await palette(VALIDATORS);
    const file = pathToFileURL(path.join(modules, '@seriousme/openapi-schema-validator/index.js')).href;
    const { Validator } = (await import(file)) as { Validator: new () => Validator };
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors));
    const { default: Ajv } = createRequire(path.join(modules, 'x'))('ajv/dist/2020') as {
      default: new (o: object) => Ajv;
    };
    const ajv = new Ajv({ strict: false, allErrors: true });
    ajv.addSchema(document, 'api');
    return new Contract(document, ajv);
  }

  /** The answer's body, which is what the document says of this path, method and status. */
  async answer<T>(address: string, response: Response, status: number): Promise<T> {
    const body: unknown = await response.clone().json();
    assert.equal(response.status, status, JSON.stringify(body));
    const { pathname } = new URL(response.url);
    const method = address.split(' ')[0].toLowerCase();
    const content = this.document.paths[pathname]?.[method]?.responses[status]?.content?.['application/json'];
    assert.ok(content, `${address} ${status} is not in the document`);
    const place = ['paths', pathname, method, 'responses', status, 'content', 'application/json', 'schema'];
    const pointer = place.map(key => encodeURIComponent(String(key).replaceAll('~', '~0').replaceAll('/', '~1')));
    assert.ok(this.ajv.validate({ $ref: `api#/${pointer.join('/')}` }, body), `${address}: ${this.ajv.errorsText()}`);
    return body as T;
  }
}
