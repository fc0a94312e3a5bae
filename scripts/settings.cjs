// Settings of the demo's and the tests' Node-RED: this machine only, nothing sent or fetched from outside.
// eslint-disable-next-line @typescript-eslint/no-require-imports -- Node-RED reads its settings as CommonJS
const { bodyGuard, httpGuard } = require('../dist/lib/red/http-guard');

module.exports = {
  uiHost: '127.0.0.1',
  credentialSecret: false,
  flowFilePretty: true,
  diagnostics: { enabled: true, ui: true },
  telemetry: { enabled: false, updateNotification: false },
  externalModules: { palette: { allowInstall: false, allowUpload: false }, modules: { allowInstall: false } },
  editorTheme: {
    projects: { enabled: false },
    tours: false,
    palette: { catalogues: [] },
    header: { title: 'Node-RED with Goodparts' }
  },
  functionExternalModules: true,
  httpAdminMiddleware: bodyGuard(),
  httpNodeMiddleware: httpGuard({ megabytes: 64 }),
  logging: { console: { level: 'info', metrics: false, audit: false } }
};
