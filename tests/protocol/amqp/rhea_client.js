// Talks to the shell as rhea does by default; prints what it saw as one JSON document.
const rhea = require(process.argv[2]);
const port = Number(process.argv[3]);
const mode = process.argv[4];
const seen = { accepted: 0, rejected: [], received: [], refused: null, released: 0, drained: false };
const wanted = 205;

const container = rhea.create_container();
const login = { sasl: { username: 'user', password: 'secret' }, wrong: { username: 'user', password: 'no' } }[mode] || {};
const connection = container.connect({
  host: '127.0.0.1', port, reconnect: false, idle_time_out: 4000,
  max_frame_size: mode === 'small' ? 512 : 65536, ...login,
});

container.on('connection_open', () => {
  connection.open_receiver({ source: { address: 'nowhere' } });
  const receiver = connection.open_receiver({ source: { address: 'queue' }, credit_window: 10, autoaccept: false });
  let released = 0;
  receiver.on('message', (context) => {
    const body = context.message.body;
    if (body.typecode === 0x75 && released < 5 && seen.received.length >= 10) {
      released += 1;
      seen.released = released;
      context.delivery.release();
      return;
    }
    seen.received.push([body.content.length, context.message.application_properties, context.message.message_id,
      context.delivery.tag.length]);
    context.delivery.accept();
    finish();
  });
  const sender = connection.open_sender('queue');
  let sent = 0;
  sender.on('sendable', () => {
    while (sender.sendable() && sent < wanted) {
      const size = sent === 3 ? 200000 : sent;
      sender.send({
        message_id: `m${sent}`, application_properties: { number: `${sent}` },
        body: rhea.message.data_section(Buffer.alloc(size, 0x61)),
      });
      sent += 1;
    }
  });
  sender.on('accepted', () => { seen.accepted += 1; finish(); });
  const other = connection.open_sender('elsewhere');
  other.once('sendable', () => other.send({ body: rhea.message.data_section(Buffer.from('reject me')) }));
  other.on('rejected', (context) => { seen.rejected.push(context.delivery.remote_state.error.condition); finish(); });
});
container.on('receiver_error', (context) => { seen.refused = context.receiver.error.condition; finish(); });
container.on('connection_error', (context) => { seen.error = context.connection.error; });
container.on('disconnected', (context) => { seen.disconnected = true; });
container.on('error', (error) => { seen.failure = String(error); console.log(JSON.stringify(seen)); process.exit(0); });
container.on('connection_close', () => { console.log(JSON.stringify(seen)); });

let finished = false;
function finish() {
  if (finished || seen.accepted < wanted || seen.received.length < wanted || !seen.refused || !seen.rejected.length) return;
  finished = true;
  // Longer than the idle-time-out that it announced: it would give up a server that stays silent.
  setTimeout(() => connection.close(), mode === 'plain' ? 4600 : 0);
}
