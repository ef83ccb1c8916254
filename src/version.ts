/** The version in package.json; a test keeps the two equal. */
export const VERSION = '0.1.0';

/** How identify names this implementation. */
export const AGENT_VERSION = `libp2p-lean/${VERSION}`;
