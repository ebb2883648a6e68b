'use strict';
// Connects and does what it is told until its standard input ends: it completes messages, or rejects those that say
// `reject`, follows its twin, and has the methods `echo` (answers with what it got), `report` (reports its payload in
// the twin) and `send` (sends its payload as telemetry). What happens it prints.

const { once } = require('events');
const { Message } = require('azure-iot-device');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const { createClient } = require('./device');
const { run, say } = require('./transcript');

const TRANSPORTS = { Mqtt, MqttWs, Amqp, AmqpWs };

function bag(properties) {
  return Object.fromEntries(properties.propertyList.map(({ key, value }) => [key, value]));
}

run(async () => {
  const client = await createClient(process.env, TRANSPORTS[process.env.TRANSPORT || 'Mqtt']);
  client.on('disconnect', () => say({ disconnected: true }));
  await client.open();

  const twin = await client.getTwin();
  const { desired, reported } = JSON.parse(JSON.stringify(twin.properties));
  say({ twin: { desired, reported } });
  twin.on('properties.desired', (delta) => say({ desired: delta }));

  const methods = {
    echo: async (payload) => payload,
    report: async (payload) => {
      await new Promise((resolve, reject) => {
        twin.properties.reported.update(payload, (error) => (error ? reject(error) : resolve()));
      });
      return null;
    },
    send: async (payload) => {
      await client.sendEvent(new Message(JSON.stringify(payload)));
      return null;
    },
  };
  const listen = (client.onDeviceMethod || client.onMethod).bind(client);
  for (const [name, method] of Object.entries(methods)) {
    listen(name, async (request, response) => {
      try {
        await response.send(200, await method(request.payload));
      } catch (error) {
        await response.send(500, { error: error.name, message: error.message });
      }
    });
  }
  client.on('message', async (message) => {
    const text = message.data.toString();
    await client[text === 'reject' ? 'reject' : 'complete'](message);
    say({ message: { text, properties: bag(message.properties) } });
  });

  say({ ready: true });
  process.stdin.resume();
  await once(process.stdin, 'end');
  await client.close();
  say({ closed: true });
});
