// A js-libp2p node with one transport, secure channel and muxer, made of the parts that the stack.mjs of
// its version has. Only those are loaded.
import { isIP } from 'node:net';

/** A combination that exists in the matrix but not in js-libp2p. */
export class Unsupported extends Error {}

const LISTEN = { 'quic-v1': 'udp/0/quic-v1', tcp: 'tcp/0', ws: 'tcp/0/ws', wss: 'tcp/0/tls/ws' };

const load = async (parts, name, ...args) => {
  if (name === undefined) return [];
  const part = parts[name];
  if (part === undefined) throw new Unsupported(`no ${name} in this peer`);
  return [await part(...args)];
};

/**
 * @param stack the stack.mjs of a version
 * @param combination `{ transport, secureChannel, muxer }`; the last two undefined where the transport
 *   brings its own
 * @param listenIp where it listens, on a free port; undefined for a dialer
 * @param options further options of `createLibp2p`
 * @throws Unsupported
 */
export const createNode = async (stack, combination, listenIp, options = {}) => {
  const { transport, secureChannel, muxer } = combination;
  const listen = listenIp !== undefined;
  const [transports, connectionEncrypters, streamMuxers] = await Promise.all([
    load(stack.transports, transport, listen),
    load(stack.secureChannels, secureChannel),
    load(stack.muxers, muxer),
  ]);
  return stack.createLibp2p({
    addresses: { listen: listen ? [`/ip${isIP(listenIp)}/${listenIp}/${LISTEN[transport]}`] : [] },
    transports,
    connectionEncrypters,
    streamMuxers,
    // The defaults would refuse most of the connections of the benchmarks, which come from one host.
    connectionManager: {
      maxConnections: 10_000,
      maxIncomingPendingConnections: 1_000,
      inboundConnectionThreshold: 1e9,
    },
    ...options,
  });
};
