'use strict';
// A device as the tutorials write it: it provisions with its certificate, connects to the hub it was given, and sends
// one message. Its settings have the tutorials' names. Each line of its input, {asked, settings}, is a device that does so
// from the start; what it did is a line {asked, said}, with the error last where there was one.

const fs = require('fs');
const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Mqtt: ByMqtt } = require('azure-iot-provisioning-device-mqtt');
const { X509Security } = require('azure-iot-security-x509');
const readline = require('readline');
const { say } = require('./transcript');

async function story(settings, tell) {
  const certificate = {
    cert: fs.readFileSync(settings.IOTHUB_DEVICE_X509_CERT, 'utf8'),
    key: fs.readFileSync(settings.IOTHUB_DEVICE_X509_KEY, 'utf8'),
  };
  const security = new X509Security(settings.IOTHUB_DEVICE_DPS_DEVICE_ID, certificate);
  const { IOTHUB_DEVICE_DPS_ENDPOINT: endpoint, IOTHUB_DEVICE_DPS_ID_SCOPE: idScope } = settings;
  const provisioning = ProvisioningDeviceClient.create(endpoint, idScope, new ByMqtt(), security);
  const { assignedHub, deviceId } = await provisioning.register();
  tell({ assignedHub, deviceId });

  const client = Client.fromConnectionString(`HostName=${assignedHub};DeviceId=${deviceId};x509=true`, Mqtt);
  await client.setOptions(certificate);
  await client.open();
  const message = new Message(JSON.stringify({ temperature: 21.5 }));
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  message.properties.add('place', 'hall 3 & 4');
  await client.sendEvent(message);
  tell({ sent: deviceId });
  await client.close();
}

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const { asked, settings } = JSON.parse(line);
  const said = [];
  try {
    await story(settings, (document) => said.push(document));
  } catch (error) {
    said.push({ error: error.name, message: error.message });
  }
  say({ asked, said });
});
