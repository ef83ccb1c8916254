/**
 * What a router of the laboratory does to packets, as an nftables ruleset. The kinds have the names of RFC
 * 3489, which are still in use; RFC 4787's terms are given for each.
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
 *   the rules of unified-testing's router do the same (hole-punch/images/linux/run.sh);
 * - `port-shifting`: the same, but the outside port always differs from the inside one;
 * - `symmetric`: each destination sees another random port, and only that destination gets through;
 * - `udp-blocked`: as `port-restricted` for TCP; UDP is dropped, as in some company networks.
 *
 * Except in `port-shifting` and `symmetric`, the outside port equals the inside one, as with most home routers.
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

/** Flips a bit of the ports after the address translation, which keeps ports where it can. */
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
