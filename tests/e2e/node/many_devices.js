'use strict';
// Many devices in one program, each with its own transport and credentials. Each line of its input asks something of
// one of them: {asked, device, do, ...}. What came of it is a line {asked, done}, or {asked, error, message}; answers
// come as they are ready, in any order. What can be asked is in ASKED.

const readline = require('readline');
const { PassThrough } = require('stream');
const { Client, Message, ModuleClient } = require('azure-iot-device');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const { Http } = require('azure-iot-device-http');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Amqp: ByAmqp, AmqpWs: ByAmqpWs } = require('azure-iot-provisioning-device-amqp');
const { Http: ByHttp } = require('azure-iot-provisioning-device-http');
const { Mqtt: ByMqtt, MqttWs: ByMqttWs } = require('azure-iot-provisioning-device-mqtt');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');
const fs = require('fs');
const { createClient } = require('./device');
const { say } = require('./transcript');

const TRANSPORTS = { MQTT: Mqtt, 'MQTT-WS': MqttWs, AMQP: Amqp, 'AMQP-WS': AmqpWs, HTTPS: Http };
const PROVISIONING = { MQTT: ByMqtt, 'MQTT-WS': ByMqttWs, AMQP: ByAmqp, 'AMQP-WS': ByAmqpWs, HTTPS: ByHttp };
// A message is looked for once a second, where it has to be looked for.
const POLLING = { http: { receivePolicy: { interval: 1 } } };

const devices = new Map();

const ASKED = {
  // {transport, settings}: the settings of device.js.
  async open({ device, transport, settings }) {
    const client = await createClient(settings, TRANSPORTS[transport], transport === 'HTTPS' ? POLLING : {});
    await client.open();
    devices.set(device, { client, deltas: [], wake: () => {} });
  },

  async send({ device, text }) {
    const message = new Message(text);
    message.contentType = 'application/json';
    message.contentEncoding = 'utf-8';
    await devices.get(device).client.sendEvent(message);
  },

  // The next message for the device, once it is completed.
  async receive({ device }) {
    const { client } = devices.get(device);
    const message = await new Promise((resolve, reject) => {
      client.once('error', reject);
      client.on('message', resolve);
    });
    await client.complete(message);
    return message.data.toString();
  },

  // From now on the method answers with what it is given.
  async echo({ device, method }) {
    const { client } = devices.get(device);
    const listen = (client.onDeviceMethod || client.onMethod).bind(client);
    listen(method, (request, response) => response.send(200, request.payload));
  },

  // Its twin; from now on it is told of changes.
  async twin({ device }) {
    const state = devices.get(device);
    state.twin = await state.client.getTwin();
    const { desired, reported } = JSON.parse(JSON.stringify(state.twin.properties));
    state.twin.on('properties.desired', (delta) => {
      state.deltas.push(delta);
      state.wake();
    });
    return { desired, reported };
  },

  // Waits until it is told of a desired property of this value.
  async desired({ device, name, value }) {
    const state = devices.get(device);
    const known = () => state.deltas.some((delta) => delta[name] === value);
    while (!known()) {
      await new Promise((resolve) => {
        state.wake = resolve;
      });
    }
  },

  async report({ device, patch }) {
    const { twin } = devices.get(device);
    await new Promise((resolve, reject) => {
      twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
    });
  },

  async upload({ device, name, text }) {
    const body = Buffer.from(text);
    const stream = new PassThrough();
    stream.end(body);
    await devices.get(device).client.uploadToBlob(name, stream, body.length);
  },

  async close({ device }) {
    const state = devices.get(device);
    devices.delete(device);
    await state.client.close();
  },

  // {transport, host, scope, device: the registration id} and {cert, key}: files, or {symmetricKey}.
  async provision({ device, transport, host, scope, cert, key, symmetricKey }) {
    const security = symmetricKey
      ? new SymmetricKeySecurityClient(device, symmetricKey)
      : new X509Security(device, { cert: fs.readFileSync(cert, 'utf8'), key: fs.readFileSync(key, 'utf8') });
    const client = ProvisioningDeviceClient.create(host, scope, new PROVISIONING[transport](), security);
    const { assignedHub, deviceId, status } = await client.register();
    return { assignedHub, deviceId, status };
  },

  // Whether a provisioning transport can be asked for a TPM's challenge.
  async attestsWithTpm({ transport }) {
    return new PROVISIONING[transport]().getAuthenticationChallenge !== undefined;
  },

  // Whether a client has a method by this name, and what its transport for HTTPS throws when it is called.
  async offers({ kind, method }) {
    return { module: ModuleClient, device: Client }[kind].prototype[method] !== undefined;
  },
  async overHttps({ method }) {
    new Http({})[method](() => {});
  },
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const question = JSON.parse(line);
  try {
    const done = await ASKED[question.do](question);
    say({ asked: question.asked, done });
  } catch (error) {
    say({ asked: question.asked, error: error.name, message: error.message });
  }
});
