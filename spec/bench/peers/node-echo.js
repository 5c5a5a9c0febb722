// SPDX-License-Identifier: MIT
// usage: node node-echo.js PORT
const net = require('net');

net.createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.pipe(socket);
}).listen(Number(process.argv[2]), '127.0.0.1', 4096);
