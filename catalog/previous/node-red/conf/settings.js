module.exports = {
  userDir: '/data',
  flowFile: 'flows.json',
  flowFilePretty: true,
  uiHost: '0.0.0.0',
  uiPort: 1880,
  // What flows keep of passwords is encrypted with this key.
  credentialSecret: '{{secret:credentials-key}}',
  adminAuth: {
    type: 'credentials',
    users: [{ username: 'archipelago', password: '{{secret:password-hash}}', permissions: '*' }]
  },
  telemetry: { enabled: false, updateNotification: false },
  diagnostics: { enabled: true, ui: true },
  logging: { console: { level: 'info', metrics: false, audit: false } },
  editorTheme: { tours: false, projects: { enabled: false } }
}
