'use strict';
// The generator's camel case of the names in standard input, a JSON array: {name: camel case}.

const fs = require('fs');
const camelCase = require('camelcase');
const { say } = require('./transcript');

const names = JSON.parse(fs.readFileSync(0, 'utf8'));
say(Object.fromEntries(names.map((name) => [name, camelCase(name)])));
