import { networkInterfaces } from 'node:os';

/** Why IPv6 cannot be tested here, or `false`: the `skip` of a test. */
export const noIPv6: string | false = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .some(({ family }) => family === 'IPv6')
  ? false
  : 'no IPv6 on this machine';
