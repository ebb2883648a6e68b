'use strict';
// A back end that sends to devices, and hears what became of its messages and which files are there. Each line of its
// standard input is {asked, method, ...}, and for each it prints {asked, body}, or {asked, error, message}. The methods
// are the client's own; after getFeedbackReceiver and getFileNotificationReceiver, `feedback` and `file` give what comes
// next on them, as {told, properties}, once it is completed. (The package accepts whatever comes the moment it comes, so
// that `abandon` and `reject` come too late.)
//
// Settings: IOTHUB_CONNECTION_STRING; TRANSPORT, `Amqp` or `AmqpWs`.

const { once } = require('events');
const readline = require('readline');
const { Message, NoRetry } = require('azure-iot-common');
const { Amqp, Client } = require('azure-iothub');
const { AmqpWs } = require('azure-iothub/dist/amqp_ws');
const { say } = require('./transcript');

const client = Client.fromConnectionString(process.env.IOTHUB_CONNECTION_STRING, { Amqp, AmqpWs }[process.env.TRANSPORT]);
client.setRetryPolicy(new NoRetry());
client.on('disconnect', () => {});
const waiting = { feedback: [], file: [] };

// With promises a receiver comes as a copy of its fields, which hears nothing.
function called(method, ...given) {
  return new Promise((resolve, reject) => {
    client[method](...given, (error, came) => (error ? reject(error) : resolve(came)));
  });
}

function listen(receiver, name) {
  receiver.on('message', (message) => {
    waiting[name].push({ receiver, message });
    receiver.emit(`moorage-${name}`);
  });
  waiting[name].receiver = receiver;
  return null;
}

async function next(name) {
  while (!waiting[name].length) await once(waiting[name].receiver, `moorage-${name}`);
  const { receiver, message } = waiting[name].shift();
  await receiver.complete(message);
  const { contentType, userId } = message;
  const text = message.data.toString();
  return { told: JSON.parse(text), properties: { contentType, userId: userId && userId.toString() } };
}

const methods = {
  open: async () => { await client.open(); return null; },
  close: async () => { await client.close(); return null; },
  send: async ({ to, text, options }) => {
    const message = Object.assign(new Message(text), options.message);
    for (const [name, value] of Object.entries(options.properties || {})) message.properties.add(name, value);
    return (await called('send', to, message)).constructor.name;
  },
  getFeedbackReceiver: async () => listen(await called('getFeedbackReceiver'), 'feedback'),
  getFileNotificationReceiver: async () => listen(await called('getFileNotificationReceiver'), 'file'),
  feedback: () => next('feedback'),
  file: () => next('file'),
};

async function answer(line) {
  const { asked, method, ...given } = JSON.parse(line);
  try {
    say({ asked, body: await methods[method](given) });
  } catch (error) {
    say({ asked, error: error.name, message: error.message });
  }
}

readline.createInterface({ input: process.stdin }).on('line', answer);
