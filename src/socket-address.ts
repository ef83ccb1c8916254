/** One end of a UDP or TCP path. */
export interface SocketAddress {
  /** IPv4 or IPv6 literal, never a name; no brackets, no zone. */
  readonly host: string;
  readonly port: number;
}

/** `host` without a zone, and as IPv4 where it is an IPv4-mapped IPv6 address. */
export const plainHost = (host: string): string => {
  const [address = host] = host.split('%');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const hex = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address);
  if (hex === null) return address;
  const [high, low] = [Number.parseInt(hex[1] ?? '', 16), Number.parseInt(hex[2] ?? '', 16)];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
};
