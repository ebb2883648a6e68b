'use strict';
// A back end that does as it is told: each line of its standard input is {asked, object, method, arguments, keep?,
// calledBack?}, and for each it prints what came back as {asked, body, more, continuation}, or {asked, error, message,
// status, answer}. An object is a class that the packages export, or whatever an earlier line asked to `keep` under that
// name; `new` as method makes one. An argument {"$date": text}, {"$bearer": token} or {"$kept": name} stands for what
// JSON has no word for. With `calledBack` the answer comes through a callback, not a promise.

const readline = require('readline');
const { say } = require('./transcript');

const { NoRetry } = require('azure-iot-common');
const hub = require('azure-iothub');
const provisioning = require('azure-iot-provisioning-service');

const { Client, DigitalTwinClient, IoTHubTokenCredentials, JobClient, Registry, Twin } = hub;
const { Query } = require('azure-iothub/dist/query');
const { ProvisioningServiceClient } = provisioning;
const classes = { Client, DigitalTwinClient, IoTHubTokenCredentials, JobClient, ProvisioningServiceClient, Query, Registry, Twin };
// What an earlier line asked to keep, and what a test has to hand over.
const kept = { policy: new NoRetry() };

function argument(given) {
  if (given === null || typeof given !== 'object') return given;
  if ('$date' in given) return new Date(given.$date);
  if ('$kept' in given) return kept[given.$kept];
  if ('$bearer' in given) {
    const expiresOnTimestamp = Date.now() + 600000;
    return { getToken: async () => ({ token: given.$bearer, expiresOnTimestamp }) };
  }
  return given;
}

// Own methods of a class and of its prototype; what begins with an underscore is private.
function offers(each) {
  const named = (holder) => Object.getOwnPropertyNames(holder)
    .filter((name) => name !== 'constructor' && !name.startsWith('_') && typeof holder[name] === 'function');
  return [...named(each.prototype), ...named(each)];
}

// The clients wrap an answer in one of four ways; a Query, a Twin or nothing comes as it is.
function unwrapped(came) {
  if (came === null || typeof came !== 'object' || came instanceof Query || came instanceof Twin) return came;
  for (const member of ['responseBody', 'result', 'jobStatus']) {
    if (member in came) return came[member];
  }
  if (!('_response' in came)) return came;
  const { _response, ...own } = came;
  return 'body' in own ? own.body : own;
}

function calledBack(target, method, given) {
  return new Promise((resolve, reject) => {
    target[method](...given, (error, came) => (error ? reject(error) : resolve(came)));
  });
}

async function carryOut({ object, method, arguments: given, keep, calledBack: byCallback }) {
  if (object === 'packages') {
    return { body: Object.fromEntries(Object.entries(classes).map(([name, each]) => [name, offers(each)])) };
  }
  const target = kept[object] || classes[object];
  const translated = given.map(argument);
  const call = { new: () => new target(...translated) }[method] || (() => target[method](...translated));
  const body = byCallback ? await calledBack(target, method, translated) : unwrapped(await call());
  if (keep) kept[keep] = body;
  const isOfPackage = keep && typeof body === 'object' && Object.values(classes).some((each) => body instanceof each);
  return {
    body: isOfPackage && !(body instanceof Twin) ? null : body === undefined ? null : body,
    more: target.hasMoreResults,
    continuation: target.continuationToken,
  };
}

async function answer(line) {
  const { asked, ...question } = JSON.parse(line);
  try {
    say({ asked, ...await carryOut(question) });
  } catch (error) {
    const status = (error.response && (error.response.statusCode || error.response.status)) || error.statusCode;
    say({ asked, error: error.name, message: error.message, status, answer: error.responseBody });
  }
}

readline.createInterface({ input: process.stdin }).on('line', answer);
