import { muxerSuite } from '../support/mux-suites.ts';

muxerSuite('yamux');
