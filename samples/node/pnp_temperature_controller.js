'use strict';
// IoT Plug and Play: a temperature controller with two thermostats. It announces its model, reports properties of each
// component, answers writable properties with what it made of them, and has commands.

const os = require('os');
const { Message } = require('azure-iot-device');
const { connect, repeat, run } = require('./device');

const MODEL_ID = 'dtmi:com:example:TemperatureController;2';

class Thermostat {
  constructor() {
    this.temperature = 20 + 5 * Math.random();
    this.target = this.temperature;
    this.forget();
  }

  forget() {
    this.readings = [];
  }

  // Goes half of the way to where it should be.
  measure() {
    this.temperature += (this.target - this.temperature) / 2;
    this.readings.push({ at: new Date(), temperature: this.temperature });
    if (this.readings.length > 1000) this.readings.shift();
    return this.temperature;
  }

  highest() {
    return Math.max(...this.readings.map(({ temperature }) => temperature));
  }

  // Of the readings at or after `since`, a time as text; null when there are none.
  report(since) {
    const readings = this.readings.filter(({ at }) => !since || at >= new Date(since));
    if (!readings.length) return null;
    const temperatures = readings.map(({ temperature }) => temperature);
    return {
      maxTemp: Math.max(...temperatures),
      minTemp: Math.min(...temperatures),
      avgTemp: temperatures.reduce((sum, each) => sum + each, 0) / temperatures.length,
      startTime: readings[0].at.toISOString(),
      endTime: readings[readings.length - 1].at.toISOString(),
    };
  }
}

const thermostats = { thermostat1: new Thermostat(), thermostat2: new Thermostat() };

function component(properties) {
  return { __t: 'c', ...properties };
}

// What came of a writable property: its value, a code (ac), the version it was asked in (av), a description (ad).
function acknowledgement(value, av, ac = 200, ad = 'done') {
  return { value, ac, av, ad };
}

// The patch that answers a change of desired properties.
function answerTo(desired) {
  const { $version: version, ...changes } = desired;
  const patch = {};
  for (const [name, thermostat] of Object.entries(thermostats)) {
    const target = changes[name] && changes[name].targetTemperature;
    if (target === undefined || target === null) continue;
    const isNumber = typeof target === 'number';
    if (isNumber) thermostat.target = target;
    const answer = isNumber
      ? acknowledgement(target, version)
      : acknowledgement(thermostat.target, version, 400, 'targetTemperature has to be a number');
    patch[name] = component({ targetTemperature: answer });
  }
  return patch;
}

function reportWith(twin) {
  return async (patch) => {
    if (!Object.keys(patch).length) return;
    await new Promise((resolve, reject) => {
      twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
    });
    console.log(`reported ${JSON.stringify(patch)}`);
  };
}

const commands = {
  reboot: () => {
    for (const thermostat of Object.values(thermostats)) thermostat.forget();
    return [200, null];
  },
};
for (const [name, thermostat] of Object.entries(thermostats)) {
  commands[`${name}*getMaxMinReport`] = (since) => {
    if (since && Number.isNaN(Date.parse(since))) return [400, 'since has to be a time'];
    const report = thermostat.report(since);
    return report ? [200, report] : [404, 'there are no readings'];
  };
}

function message(content, componentName) {
  const made = new Message(JSON.stringify(content));
  made.contentType = 'application/json';
  made.contentEncoding = 'utf-8';
  if (componentName) made.properties.add('$.sub', componentName);
  return made;
}

run(async (interrupted) => {
  const client = await connect({ modelId: MODEL_ID });
  for (const [name, command] of Object.entries(commands)) {
    client.onDeviceMethod(name, async (request, response) => {
      const [status, payload] = command(request.payload);
      console.log(`command ${name}: ${status}`);
      try {
        await response.send(status, payload);
      } catch (error) {
        console.error(error.message);
      }
    });
  }

  const twin = await client.getTwin();
  const report = reportWith(twin);
  const measured = Object.entries(thermostats).map(([name, thermostat]) => {
    thermostat.measure();
    return [name, component({ maxTempSinceLastReboot: thermostat.highest() })];
  });
  await report({
    serialNumber: 'SN-0001',
    deviceInformation: component({
      manufacturer: 'Example Instruments',
      model: 'Two zones',
      swVersion: '1.0',
      osName: os.type(),
      processorArchitecture: os.arch(),
      processorManufacturer: os.cpus().length ? os.cpus()[0].model : 'unknown',
      totalStorage: 1024,
      totalMemory: Math.round(os.totalmem() / 1024),
    }),
    ...Object.fromEntries(measured),
  });
  // The first time it is called with all that is desired, what was asked while nobody was here included.
  twin.on('properties.desired', (desired) => {
    report(answerTo(desired)).catch((error) => console.error(error.message));
  });
  console.log('connected');

  await repeat(async () => {
    for (const [name, thermostat] of Object.entries(thermostats)) {
      await client.sendEvent(message({ temperature: thermostat.measure() }, name));
    }
    await client.sendEvent(message({ workingSet: Math.round(process.memoryUsage().rss / 1024) }));
  }, interrupted);
  await client.close();
});
