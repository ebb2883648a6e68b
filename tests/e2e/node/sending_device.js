'use strict';
// Connects, sends one message, and closes.

const { Message } = require('azure-iot-device');
const { createClient } = require('./device');
const { run, say } = require('./transcript');

run(async () => {
  const client = await createClient(process.env);
  await client.open();
  await client.sendEvent(new Message('hello'));
  say({ sent: true });
  await client.close();
});
