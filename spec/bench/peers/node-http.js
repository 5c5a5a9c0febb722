// SPDX-License-Identifier: MIT
// usage: node node-http.js PORT
const http = require('http');

const body = Buffer.from('Hello from Ropewalk\n');

const server = http.createServer((request, response) => {
  response.writeHead(200, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': body.length,
  });
  response.end(body);
});
server.keepAliveTimeout = 600000;
server.listen(Number(process.argv[2]), '127.0.0.1', 4096);
