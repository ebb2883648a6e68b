'use strict';
// Test certificates by the npm package `pem`, for the commands that the tutorials print:
//
//   node make_certificates.js root NAME
//   node make_certificates.js intermediate NAME ISSUER
//   node make_certificates.js device NAME [ISSUER]             without ISSUER it signs itself
//   node make_certificates.js verification --ca FILE --key FILE --nonce CODE
//
// The files are of the same kind as those of the generator in the SDK's repository, which stands on the same packages:
// in the current folder, NAME in camel case with _cert.pem, _key.pem (RSA-2048, PKCS#8 or PKCS#1 as the installed
// OpenSSL writes keys), _fullchain.pem (its last line is the word "null": the text of the chain above a certificate
// that has none) and .pfx (password 1234). They live for a day; CAs have basicConstraints without a key usage, leaves
// only an extended key usage. As there, what looks like a number on the command line is taken for one.

const fs = require('fs');
const { promisify } = require('util');
const camelCase = require('camelcase');
const pem = require('pem');
const yargs = require('yargs');

const EXTENSION = {
  root: 'basicConstraints = critical, CA:true',
  intermediate: 'basicConstraints = critical, CA:true',
  device: 'extendedKeyUsage = critical,clientAuth',
  verification: 'extendedKeyUsage = critical,clientAuth',
};

function readSigner(cert, key, chain) {
  const read = (path) => fs.readFileSync(path, 'ascii');
  return { cert: read(cert), key: read(key), chain: chain ? read(chain) : null };
}

// What is asked for: {name, stem, signer}; `signer` is null for what signs itself.
function readCommand(argv) {
  const [kind, name, issuer] = argv._;
  if (!(kind in EXTENSION)) throw new Error(`"${kind}" is none of ${Object.keys(EXTENSION).join(', ')}`);
  if (kind === 'verification') {
    return { kind, name: argv.nonce, stem: 'verification', signer: readSigner(argv.ca, argv.key) };
  }
  const above = issuer && camelCase(issuer);
  const signer = above ? readSigner(`${above}_cert.pem`, `${above}_key.pem`, `${above}_fullchain.pem`) : null;
  return { kind, name, stem: camelCase(name), signer };
}

async function make({ kind, name, stem, signer }) {
  const made = await promisify(pem.createCertificate)({
    commonName: name,
    days: 1,
    serial: Math.floor(Math.random() * 1e9),
    config: `[v3_req]\n${EXTENSION[kind]}`,
    ...(signer ? { serviceCertificate: signer.cert, serviceKey: signer.key } : { selfSigned: true }),
  });
  fs.writeFileSync(`${stem}_cert.pem`, made.certificate);
  fs.writeFileSync(`${stem}_key.pem`, made.clientKey);
  fs.writeFileSync(`${stem}_fullchain.pem`, `${made.certificate}\n${signer && signer.chain}`);
  const pair = { cert: `${stem}_cert.pem`, key: `${stem}_key.pem` };
  await promisify(pem.convert.PEM2PFX)(pair, `${stem}.pfx`, '1234');
}

make(readCommand(yargs.argv)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
