'use strict';
// A device or module for a connection string, with the credentials its settings name.

const fs = require('fs');
const { AuthenticationType, ConnectionString } = require('azure-iot-common');
const { Client, ModuleClient } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

// A module's certificate: the SDK's own provider makes devices only, and its transport takes any provider.
class ModuleCertificate {
  constructor({ HostName, DeviceId, ModuleId }, certificate) {
    this.type = AuthenticationType.X509;
    this._credentials = { host: HostName, deviceId: DeviceId, moduleId: ModuleId, x509: certificate };
  }

  getDeviceCredentials(callback) {
    callback(null, this._credentials);
  }
}

// Settings: IOTHUB_DEVICE_CONNECTION_STRING with x509=true; IOTHUB_DEVICE_X509_CERT and _KEY, files, and _PASSPHRASE
// where the key has one; HUB_CA, file or text, where Node does not trust the hub already.
// `more` are options that go along: over HTTPS, a call of setOptions that has none for receiving never ends.
async function createClient(settings, Transport = Mqtt, more = {}) {
  const text = settings.IOTHUB_DEVICE_CONNECTION_STRING;
  const connection = ConnectionString.parse(text);
  const certificate = settings.IOTHUB_DEVICE_X509_CERT && {
    cert: fs.readFileSync(settings.IOTHUB_DEVICE_X509_CERT, 'utf8'),
    key: fs.readFileSync(settings.IOTHUB_DEVICE_X509_KEY, 'utf8'),
    passphrase: settings.IOTHUB_DEVICE_X509_PASSPHRASE,
  };
  const asModule = certificate && connection.ModuleId;
  const client = asModule
    ? ModuleClient.fromAuthenticationProvider(new ModuleCertificate(connection, certificate), Transport)
    : (connection.ModuleId ? ModuleClient : Client).fromConnectionString(text, Transport);
  const options = { ...more, ...(asModule ? {} : certificate), ...(settings.HUB_CA && { ca: settings.HUB_CA }) };
  if (Object.keys(options).length) await client.setOptions(options);
  return client;
}

module.exports = { createClient };
