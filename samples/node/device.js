'use strict';
// A client for the device that the environment describes; the variables are in the README beside this folder.

const { createPrivateKey } = require('crypto');
const fs = require('fs');
const tls = require('tls');
const { Client } = require('azure-iot-device');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { X509Security } = require('azure-iot-security-x509');

// What each PROTOCOL is to the hub and to provisioning. The packages that are not used are not loaded.
const PROTOCOLS = {
  mqtt: () => [require('azure-iot-device-mqtt').Mqtt, require('azure-iot-provisioning-device-mqtt').Mqtt],
  'mqtt-ws': () => [require('azure-iot-device-mqtt').MqttWs, require('azure-iot-provisioning-device-mqtt').MqttWs],
  amqp: () => [require('azure-iot-device-amqp').Amqp, require('azure-iot-provisioning-device-amqp').Amqp],
  'amqp-ws': () => [require('azure-iot-device-amqp').AmqpWs, require('azure-iot-provisioning-device-amqp').AmqpWs],
  http: () => [require('azure-iot-device-http').Http, require('azure-iot-provisioning-device-http').Http],
};

// A wrong setting: its message is for the user, and its stack for nobody.
class SettingError extends Error {}

function setting(name) {
  const value = process.env[name];
  if (!value) throw new SettingError(`${name} is not set`);
  return value;
}

function read(name) {
  try {
    return fs.readFileSync(setting(name), 'utf8');
  } catch (error) {
    if (error instanceof SettingError) throw error;
    throw new SettingError(`${name}: ${error.message}`);
  }
}

// {cert, key, passphrase}. Found wrong here, since a connection that fails says less.
function certificate(protocol) {
  const options = { cert: read('X509_CERT_FILE'), key: read('X509_KEY_FILE'), passphrase: process.env.PASS_PHRASE };
  try {
    tls.createSecureContext(options);
  } catch (error) {
    const isLocked = options.key.includes('ENCRYPTED') && !/mismatch/.test(error.message);
    const why = isLocked ? 'PASS_PHRASE does not open it' : error.message;
    throw new SettingError(`${process.env.X509_KEY_FILE} cannot be used: ${why}`);
  }
  if (protocol !== 'amqp' || !options.passphrase) return options;
  // The SDK hands the pass phrase on to every transport but this one.
  const { cert, ...locked } = options;
  return { cert, key: createPrivateKey(locked).export({ type: 'pkcs8', format: 'pem' }) };
}

function protocolOf(allowed) {
  const name = process.env.PROTOCOL || 'mqtt';
  if (!allowed.includes(name)) throw new SettingError(`PROTOCOL is ${name}, and has to be one of ${allowed.join(', ')}`);
  return name;
}

async function connectionString(ProvisioningTransport, x509, modelId) {
  if (process.env.IOTHUB_DEVICE_CONNECTION_STRING) return process.env.IOTHUB_DEVICE_CONNECTION_STRING;
  const security = new X509Security(setting('DPS_X509_REGISTRATION_ID'), x509);
  const provisioning = ProvisioningDeviceClient.create(
    setting('PROVISIONING_HOST'), setting('PROVISIONING_IDSCOPE'), new ProvisioningTransport(), security);
  if (modelId) provisioning.setProvisioningPayload({ modelId });
  const { assignedHub, deviceId } = await provisioning.register();
  console.log(`provisioned as ${deviceId} on ${assignedHub}`);
  return `HostName=${assignedHub};DeviceId=${deviceId};x509=true`;
}

// `modelId` is announced to the hub, for which the protocol has to be one of MQTT's.
async function connect({ modelId } = {}) {
  const allowed = Object.keys(PROTOCOLS).filter((name) => !modelId || name.startsWith('mqtt'));
  const protocol = protocolOf(allowed);
  const [Transport, ProvisioningTransport] = PROTOCOLS[protocol]();
  const x509 = certificate(protocol);
  const text = await connectionString(ProvisioningTransport, x509, modelId);
  // Of a string with a key the SDK takes the key, and then no certificate.
  const client = Client.fromConnectionString(text.replace(/SharedAccessKey=[^;]*;?/i, ''), Transport);
  // Over HTTPS the client asks for messages, once in so many seconds.
  await client.setOptions({ ...x509, ...(modelId && { modelId }), http: { receivePolicy: { interval: 2 } } });
  await client.open();
  return client;
}

// Runs `program` until it ends or somebody interrupts it, and says in one line what went wrong.
async function run(program) {
  const interrupted = new Promise((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  try {
    await program(interrupted);
  } catch (error) {
    console.error(error instanceof SettingError ? error.message : `${error.name}: ${error.message}`);
    process.exitCode = 1;
  }
}

// Calls `action` every INTERVAL seconds, MESSAGE_COUNT times where that is set, until `interrupted`.
async function repeat(action, interrupted) {
  const pause = 1000 * Number(process.env.INTERVAL || 2);
  const count = Number(process.env.MESSAGE_COUNT || Infinity);
  let isInterrupted = false;
  const stop = interrupted.then(() => {
    isInterrupted = true;
  });
  for (let number = 0; number < count && !isInterrupted; number += 1) {
    await action(number);
    let timer;
    await Promise.race([new Promise((resolve) => { timer = setTimeout(resolve, pause); }), stop]);
    clearTimeout(timer);
  }
}

module.exports = { connect, repeat, run };
