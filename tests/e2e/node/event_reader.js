'use strict';
// Reads telemetry with @azure/event-hubs, and prints what it gets. It ends with its standard input.
//
// Settings: EVENTHUB_CONNECTION_STRING; IN_WEBSOCKETS, if set; READ, the JSON of {group?, partition?, position?,
// ownerLevel?}, of which `position` may have a text for `enqueuedOn`.

const { once } = require('events');
const WebSocket = require('ws');
const { EventHubConsumerClient } = require('@azure/event-hubs');
const { run, say } = require('./transcript');

function shown(event) {
  const { body, properties, systemProperties, offset, sequenceNumber, enqueuedTimeUtc, contentType, partitionKey } = event;
  return { body, properties, systemProperties, offset, sequenceNumber, enqueuedTimeUtc, contentType, partitionKey };
}

run(async () => {
  const { group, partition, position, ownerLevel } = JSON.parse(process.env.READ || '{}');
  const options = { retryOptions: { maxRetries: 0, timeoutInMs: 30000 } };
  if (process.env.IN_WEBSOCKETS) options.webSocketOptions = { webSocket: WebSocket };
  const connectionString = process.env.EVENTHUB_CONNECTION_STRING;
  const client = new EventHubConsumerClient(group || '$Default', connectionString, options);

  const refused = (error) => say({ refused: { code: error.code, message: error.message } });
  const hub = await client.getEventHubProperties().catch((error) => { refused(error); throw error; });
  say({ hub });
  const states = [];
  for (const id of await client.getPartitionIds()) states.push(await client.getPartitionProperties(id));
  say({ partitions: states });

  const startPosition = { ...position };
  if (startPosition.enqueuedOn) startPosition.enqueuedOn = new Date(startPosition.enqueuedOn);
  const handlers = {
    processInitialize: async () => say({ begun: true }),
    processEvents: async (events, context) => {
      if (!events.length) say({ idle: context.partitionId });
      for (const event of events) say({ event: { ...shown(event), partition: context.partitionId } });
    },
    processError: async (error) => refused(error),
    processClose: async (reason) => say({ closed: reason }),
  };
  const how = { startPosition: position ? startPosition : { offset: '-1' }, maxWaitTimeInSeconds: 1, ownerLevel };
  const subscription = partition === undefined
    ? client.subscribe(handlers, how)
    : client.subscribe(partition, handlers, how);
  process.stdin.resume();
  await once(process.stdin, 'end');
  await subscription.close();
  await client.close();
});
