'use strict';
// A device that speaks HTTPS: sends telemetry, one message and a batch, takes the messages that wait for it, and
// uploads a file. What happens it prints.
//
// Settings: as device.js; IOTHUB_DEVICE_UPLOAD, a file, and IOTHUB_DEVICE_MESSAGES, how many messages to take: of each
// its text says what to do with it, `complete`, `reject` or `abandon`.

const fs = require('fs');
const { Message } = require('azure-iot-device');
const { Http } = require('azure-iot-device-http');
const { createClient } = require('./device');
const { run, say } = require('./transcript');

function message(text, properties) {
  const made = new Message(text);
  for (const [name, value] of Object.entries(properties)) made.properties.add(name, value);
  return made;
}

run(async () => {
  const client = await createClient(process.env, Http, { http: { receivePolicy: { interval: 1 } } });
  await client.open();

  const single = message('{"temperature": 21.5}', { temperatureAlert: 'true' });
  single.contentType = 'application/json';
  single.contentEncoding = 'utf-8';
  single.messageId = 'm-1';
  await client.sendEvent(single);
  await client.sendEventBatch([message('first', { number: '1' }), message('second', { number: '2' })]);
  say({ sent: 3 });

  const expected = Number(process.env.IOTHUB_DEVICE_MESSAGES);
  await new Promise((resolve, reject) => {
    let taken = 0;
    client.on('error', reject);
    client.on('message', async (received) => {
      const text = received.data.toString();
      await client[text](received);
      const properties = received.properties.propertyList.map(({ key, value }) => [key, value]);
      say({ message: { text, properties: Object.fromEntries(properties), id: received.messageId } });
      taken += 1;
      if (taken === expected) resolve();
    });
  });

  const file = process.env.IOTHUB_DEVICE_UPLOAD;
  const { size } = fs.statSync(file);
  await client.uploadToBlob('logs/today.bin', fs.createReadStream(file), size);
  say({ uploaded: size });
  await client.close();
});
