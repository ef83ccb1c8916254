// js-libp2p 3 of the checkout with our QUIC transport: the participant of interop/peers/js-libp2p, which
// runs on the sources. QUIC_ENGINE chooses the engine.
import { quic } from '../../src/exports/js-libp2p.ts';
import { participate } from '../peers/js-libp2p/participant.mjs';

await participate(async () => ({
  ...(await import('../peers/js-libp2p/v3.x/stack.mjs')),
  transports: { 'quic-v1': async () => quic({ engine: process.env.QUIC_ENGINE || 'auto' }) },
}));
