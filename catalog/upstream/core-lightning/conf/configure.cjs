// The page keeps its configuration in a file that it also writes itself, with the digest of
// its password. At each start, the password is put back into it.
const crypto = require('node:crypto');
const fs = require('node:fs');

const file = process.env.APP_CONFIG_FILE;
let config = { unit: 'SATS', fiatUnit: 'USD', appMode: 'DARK', isLoading: false, error: null, singleSignOn: false };
try {
  config = JSON.parse(fs.readFileSync(file, 'utf8'));
} catch (e) {
  if (e.code !== 'ENOENT') throw e;
}
config.password = crypto.createHash('sha256').update(fs.readFileSync('/run/secrets/password', 'utf8').trim()).digest('hex');
fs.writeFileSync(file + '.new', JSON.stringify(config, null, 2), { mode: 0o600 });
fs.renameSync(file + '.new', file);
