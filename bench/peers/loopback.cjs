// Portkey's server binds every interface and has no setting for it: what is measured listens on this machine alone.
const net = require('node:net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
  const callback = rest.find((each) => typeof each === 'function');
  const port = typeof first === 'object' && first !== null ? first.port : first;
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, callback);
};
