'use strict';
// A device without the SDK, on the MQTT client that the SDK uses. It takes its connection string at its word: with a
// key it sends a token, with x509=true its certificate, with both it sends both.

const fs = require('fs');
const mqtt = require('mqtt');
const { ConnectionString, SharedAccessSignature } = require('azure-iot-common');
const { run, say } = require('./transcript');

const settings = process.env;

function connectOptions({ HostName, DeviceId, ModuleId, SharedAccessKey, x509 }) {
  const clientId = ModuleId ? `${DeviceId}/${ModuleId}` : DeviceId;
  const options = { clientId, username: `${HostName}/${clientId}/?api-version=2021-04-12`, reconnectPeriod: 0 };
  if (SharedAccessKey) {
    const resource = `${HostName}/devices/${DeviceId}${ModuleId ? `/modules/${ModuleId}` : ''}`;
    const expires = Math.floor(Date.now() / 1000) + 3600;
    options.password = SharedAccessSignature.create(encodeURIComponent(resource), null, SharedAccessKey, expires).toString();
  }
  if (x509) {
    options.cert = fs.readFileSync(settings.IOTHUB_DEVICE_X509_CERT);
    options.key = fs.readFileSync(settings.IOTHUB_DEVICE_X509_KEY);
  }
  return options;
}

run(async () => {
  const connection = ConnectionString.parse(settings.IOTHUB_DEVICE_CONNECTION_STRING);
  const path = `devices/${connection.DeviceId}/${connection.ModuleId ? `modules/${connection.ModuleId}/` : ''}messages/events/`;
  const client = mqtt.connect(`mqtts://${connection.HostName}`, connectOptions(connection));
  await new Promise((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', reject);
  });
  await new Promise((resolve, reject) => {
    client.publish(path, 'hello', { qos: 1 }, (error) => (error ? reject(error) : resolve()));
  });
  say({ sent: true });
  client.end();
});
