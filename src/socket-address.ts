/** One end of a UDP or TCP path. */
export interface SocketAddress {
  /** IPv4 or IPv6 literal, never a name; no brackets, no zone. */
  readonly host: string;
  readonly port: number;
}

/** `host`, an IP literal, without a zone (`%eth0`); an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) as IPv4. */
export const plainHost = (host: string): string => {
  const [address = host] = host.split('%');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const hex = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address);
  if (hex === null) return address;
  const [high, low] = [Number.parseInt(hex[1] ?? '', 16), Number.parseInt(hex[2] ?? '', 16)];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
};

/**
 * Whether a socket that is bound to `local` can send to `remote`: both must have the same IP version, and both be
 * loopback addresses or neither, unless `local` is unspecified (`0.0.0.0`, `::`).
 */
export const canReach = (local: SocketAddress, remote: SocketAddress): boolean => {
  const [from, to] = [plainHost(local.host), plainHost(remote.host)];
  if (from.includes(':') !== to.includes(':')) return false;
  return from === '0.0.0.0' || from === '::' || isLoopback(from) === isLoopback(to);
};

/** @param ip as `plainHost` returns it. */
export const isLoopback = (ip: string): boolean => ip === '::1' || ip.startsWith('127.');
