'use strict';
// What the SDK's documentation shows for a device with a certificate: a key and x509=true in one connection string, and
// then the certificate as an option. The SDK takes the first for a login by token, and refuses the second.

const fs = require('fs');
const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { run, say } = require('./transcript');

const settings = process.env;

run(async () => {
  const client = Client.fromConnectionString(settings.IOTHUB_DEVICE_CONNECTION_STRING, Mqtt);
  await client.setOptions({
    cert: fs.readFileSync(settings.IOTHUB_DEVICE_X509_CERT, 'utf8'),
    key: fs.readFileSync(settings.IOTHUB_DEVICE_X509_KEY, 'utf8'),
  }).catch((error) => say({ refusedOption: error.message }));
  try {
    await client.open();
    say({ connected: true });
  } finally {
    await client.close();
  }
});
