/**
 * What a router of the laboratory does to packets, as an nftables ruleset. The kinds are named as in RFC 3489,
 * which people still use; RFC 4787's words for them stand beside.
 *
 * A router's interface to the outside is `wan0`, that to the inside `lan0`.
 */

export const ROUTER_KINDS = [
  'full-cone',
  'address-restricted',
  'port-restricted',
  'port-shifting',
  'symmetric',
  'udp-blocked',
] as const;
export type RouterKind = (typeof ROUTER_KINDS)[number];

/**
 * - `full-cone`: endpoint-independent mapping and filtering;
 * - `address-restricted`: endpoint-independent mapping, address-dependent filtering;
 * - `port-restricted`: endpoint-independent mapping, address and port-dependent filtering;
 *   This is what the rules of unified-testing's router make (hole-punch/images/linux/run.sh);
 * - `port-shifting`: the same, but a port of the outside is never that of the inside;
 * - `symmetric`: every destination sees another random port, and only it gets through;
 * - `udp-blocked`: as `port-restricted` for TCP; UDP is dropped, as company networks do.
 *
 * But for `port-shifting` and `symmetric`, a port of the outside is that of the inside, as with most routers at home.
 */
export const rulesetOf = (kind: RouterKind): string =>
  `
table ip nat {
  # Which host of the inside has a port, and whom it has sent to from there.
  map inside { typeof ip protocol . th sport : ip saddr; flags dynamic,timeout; timeout 5m; size 65535; }
  set contacted { typeof ip protocol . th sport . ip daddr; flags dynamic,timeout; timeout 5m; size 65535; }

  chain translate_out {
    type nat hook postrouting priority srcnat;
    oifname "wan0" masquerade${kind === 'symmetric' ? ' fully-random' : ''}
  }
  chain translate_in {
    type nat hook prerouting priority dstnat;
    ${INBOUND[kind] ?? ''}
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ${kind === 'udp-blocked' ? 'meta l4proto udp drop' : ''}
    oifname "wan0" update @inside { ip protocol . th sport : ip saddr }
    oifname "wan0" update @contacted { ip protocol . th sport . ip daddr }
    iifname "lan0" oifname "wan0" accept
    ct state established,related accept
    ct status dnat accept
  }
  # An answer of the router itself would end a punch: a packet may come before ours has left.
  chain input {
    type filter hook input priority filter;
    iifname "wan0" drop
  }
}
${kind === 'port-shifting' ? SHIFT_PORTS : ''}`.trim();

/** Which new flows from the outside are let in, and to whom. */
const INBOUND: Partial<Record<RouterKind, string>> = {
  'full-cone': 'iifname "wan0" dnat to ip protocol . th dport map @inside',
  'address-restricted':
    'iifname "wan0" ip protocol . th dport . ip saddr @contacted dnat to ip protocol . th dport map @inside',
};

/** Flips a bit of the ports, outside of the address translation, which keeps them where it can. */
const SHIFT_PORTS = ((): string => {
  const rules = (device: string, field: string): string =>
    ['udp', 'tcp']
      .map((l4) => `${device} "wan0" ${l4} ${field} set ${l4} ${field} ^ 0x1000`)
      .join('\n    ');
  return `
table ip ports {
  chain out {
    type filter hook postrouting priority 200;
    ${rules('oifname', 'sport')}
  }
  chain in {
    type filter hook prerouting priority -350;
    ${rules('iifname', 'dport')}
  }
}`;
})();
