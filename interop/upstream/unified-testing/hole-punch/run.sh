#!/bin/sh
# Sets the routes that hole-punch/lib/run-single-test.sh leaves to the image, then is dialer, listener or relay.
set -eu
route() {
  [ -z "$1" ] || ip route add "$1" via "$2" dev "$3"
}
route "${WAN_SUBNET:-}" "${WAN_ROUTER_IP:-}" lan0
route "${DIALER_LAN_SUBNET:-}" "${DIALER_ROUTER_IP:-}" wan0
route "${LISTENER_LAN_SUBNET:-}" "${LISTENER_ROUTER_IP:-}" wan0
exec node /app/bin/libp2p-lean hole-punch
