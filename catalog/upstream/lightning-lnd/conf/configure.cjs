// Ride The Lightning keeps its configuration in a file that it also writes itself. At each
// start, the password is put back into it; the rest is what the owner has left there.
const fs = require('node:fs');

const file = '/config/RTL-Config.json';
let config = {};
try {
  config = JSON.parse(fs.readFileSync(file, 'utf8'));
} catch (e) {
  if (e.code !== 'ENOENT') throw e;
}
config = {
  port: '3000',
  defaultNodeIndex: 1,
  dbDirectoryPath: '/config',
  SSO: { rtlSSO: 0, rtlCookiePath: '', logoutRedirectLink: '' },
  nodes: [{
    index: 1,
    lnNode: 'LND',
    lnImplementation: 'LND',
    authentication: { macaroonPath: '/credentials/current' },
    settings: { userPersona: 'OPERATOR', themeMode: 'DAY', themeColor: 'PURPLE', logLevel: 'ERROR', lnServerUrl: 'https://lightning-lnd:8080', fiatConversion: false, unannouncedChannels: false },
  }],
  ...config,
  multiPass: fs.readFileSync('/run/secrets/password', 'utf8').trim(),
};
delete config.multiPassHashed;
fs.writeFileSync(file + '.new', JSON.stringify(config, null, 2), { mode: 0o600 });
fs.renameSync(file + '.new', file);
