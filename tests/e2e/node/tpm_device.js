'use strict';
// A device that attests with its TPM, provisions, and says with the key that its TPM took in where it was sent to. The
// TPM is one that speaks as Microsoft's simulator does; its endorsement key is said first, and a question on standard
// input lets it go on.

const { once } = require('events');
const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Amqp, AmqpWs } = require('azure-iot-provisioning-device-amqp');
const { Http } = require('azure-iot-provisioning-device-http');
const { TpmAuthenticationProvider, TpmSecurityClient } = require('azure-iot-security-tpm');
const { Tpm } = require('tss.js');
const { run, say } = require('./transcript');

const settings = process.env;
const TRANSPORTS = { AMQP: Amqp, 'AMQP-WS': AmqpWs, HTTPS: Http };

function answer(ask) {
  return new Promise((resolve, reject) => ask((error, result) => (error ? reject(error) : resolve(result))));
}

run(async () => {
  const name = settings.IOTHUB_DEVICE_DPS_DEVICE_ID;
  const tpm = new Tpm(true, settings.IOTHUB_DEVICE_TPM_HOST, Number(settings.IOTHUB_DEVICE_TPM_PORT));
  const security = new TpmSecurityClient(name, tpm);
  say({ endorsementKey: (await answer((done) => security.getEndorsementKey(done))).toString('base64') });
  const [question] = await once(process.stdin, 'data');
  say({ asked: JSON.parse(question).asked });

  const { IOTHUB_DEVICE_DPS_ENDPOINT: endpoint, IOTHUB_DEVICE_DPS_ID_SCOPE: idScope } = settings;
  const transport = new TRANSPORTS[settings.IOTHUB_DEVICE_DPS_TRANSPORT]();
  const provisioning = ProvisioningDeviceClient.create(endpoint, idScope, transport, security);
  // By a TPM it gives the whole answer, not the registration in it.
  const { assignedHub, deviceId } = (await provisioning.register()).registrationState;
  say({ assignedHub, deviceId });

  const provider = TpmAuthenticationProvider.fromTpmSecurityClient(deviceId, assignedHub, security);
  const client = Client.fromAuthenticationProvider(provider, Mqtt);
  await client.open();
  const message = new Message(JSON.stringify({ temperature: 21.5 }));
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  await client.sendEvent(message);
  say({ sent: deviceId });
  await client.close();
  tpm.close();
});
