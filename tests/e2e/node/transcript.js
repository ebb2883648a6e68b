'use strict';
// What the programs here print: one JSON document a line, and the SDK's own error last when there is one.

function say(document) {
  process.stdout.write(`${JSON.stringify(document)}\n`);
}

async function run(story) {
  try {
    await story();
    process.exitCode = 0;
  } catch (error) {
    say({ error: error.name, message: error.message });
    process.exitCode = 1;
  }
}

module.exports = { run, say };
