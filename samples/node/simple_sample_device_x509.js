'use strict';
// A device with a certificate: it sends what it measures, and prints and completes the messages it is sent.

const { Message } = require('azure-iot-device');
const { connect, repeat, run } = require('./device');

function measured() {
  const temperature = 20 + 10 * Math.random();
  const message = new Message(JSON.stringify({ temperature, humidity: 60 + 20 * Math.random() }));
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  message.properties.add('temperatureAlert', String(temperature > 28));
  return message;
}

run(async (interrupted) => {
  const client = await connect();
  console.log('connected');
  client.on('error', (error) => console.error(error.message));
  client.on('message', async (message) => {
    try {
      console.log(`message: ${message.getData()}`);
      await client.complete(message);
    } catch (error) {
      console.error(error.message);
    }
  });
  await repeat(async () => {
    const message = measured();
    await client.sendEvent(message);
    console.log(`sent ${message.getData()}`);
  }, interrupted);
  await client.close();
});
