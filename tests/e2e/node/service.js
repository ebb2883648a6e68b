'use strict';
// A back end: carries out the calls in its standard input, a JSON array of [object, method, ...arguments] with the
// registry or the service client as object, and prints for each what came back, or the error.

const fs = require('fs');
const { Client, Registry } = require('azure-iothub');
const { run, say } = require('./transcript');

run(async () => {
  const text = process.env.IOTHUB_CONNECTION_STRING;
  const objects = { registry: Registry.fromConnectionString(text), client: Client.fromConnectionString(text) };
  for (const [object, method, ...given] of JSON.parse(fs.readFileSync(0, 'utf8'))) {
    try {
      const { responseBody, result } = await objects[object][method](...given);
      say({ body: responseBody || result });
    } catch (error) {
      say({ error: error.name, message: error.message, status: error.response && error.response.statusCode });
    }
  }
});
