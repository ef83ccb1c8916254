// A hole-punch participant on go-libp2p, built on the published module only: dialer, listener or relay,
// by the contract of unified-testing's hole-punch suite (docs/nat.md). stdout carries the dialer's
// result and nothing else. Exit codes: 0 result printed, 1 failed, 2 configuration wrong, 127 a
// combination that exists in the suite but not here.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// errConfiguration and errUnsupported choose the exit code; any other error is a failure.
var (
	errConfiguration = errors.New("configuration")
	errUnsupported   = errors.New("unsupported")
)

// poll is the wait between two looks into Redis, or at the host.
const poll = 50 * time.Millisecond

type config struct {
	role  string // dialer, listener or relay
	quic  bool
	ip    string
	redis string
	// key is the test's name in Redis.
	key     string
	timeout time.Duration
	// punchTimeout is how long a dialer waits on a relayed connection before it reports that one; 0: to the end.
	punchTimeout time.Duration
	// reservation is how long a relay's reservations last; 0: as long as by default.
	reservation time.Duration
	debug       bool
	// unified belongs to redis.go, which the peers of the transport suite share.
	unified bool
}

// variable is an environment variable's value; unset, empty and `null` are the same.
func variable(name string) string {
	value := strings.TrimSpace(os.Getenv(name))
	if value == "null" {
		return ""
	}
	return value
}

func seconds(name string, fallback float64) (time.Duration, error) {
	value := variable(name)
	if value == "" {
		return time.Duration(fallback * float64(time.Second)), nil
	}
	s, err := strconv.ParseFloat(value, 64)
	if err != nil || !(s > 0 && s < 1e6) {
		return 0, fmt.Errorf("%w: %s=%s: not a number of seconds", errConfiguration, name, value)
	}
	return time.Duration(s * float64(time.Second)), nil
}

func configure() (c config, err error) {
	switch {
	case variable("IS_RELAY") == "true", variable("IS_DIALER") == "" && variable("RELAY_IP") != "":
		c.role = "relay"
	case variable("IS_DIALER") == "true":
		c.role = "dialer"
	case variable("IS_DIALER") == "false":
		c.role = "listener"
	default:
		return c, fmt.Errorf("%w: IS_DIALER must be true or false", errConfiguration)
	}
	transport, secure, muxer := variable("TRANSPORT"), variable("SECURE_CHANNEL"), variable("MUXER")
	switch {
	case transport == "":
		return c, fmt.Errorf("%w: TRANSPORT is not set", errConfiguration)
	case transport == "quic-v1":
		c.quic = true
	case transport != "tcp" || secure != "noise" || muxer != "yamux":
		return c, fmt.Errorf("%w: no %s, %s, %s in this peer", errUnsupported, transport, secure, muxer)
	}
	c.ip = variable(strings.ToUpper(c.role) + "_IP")
	if c.ip == "" {
		c.ip = "0.0.0.0"
	}
	if net.ParseIP(c.ip).To4() == nil {
		return c, fmt.Errorf("%w: %s: not an IPv4 address", errConfiguration, c.ip)
	}
	if c.redis = variable("REDIS_ADDR"); c.redis == "" {
		return c, fmt.Errorf("%w: REDIS_ADDR is not set", errConfiguration)
	}
	if c.key = variable("TEST_KEY"); c.key == "" {
		return c, fmt.Errorf("%w: TEST_KEY is not set", errConfiguration)
	}
	if c.timeout, err = seconds("TEST_TIMEOUT_SECS", 180); err != nil {
		return c, err
	}
	if c.punchTimeout, err = seconds("PUNCH_TIMEOUT_SECS", 0); err != nil {
		return c, err
	}
	if c.reservation, err = seconds("RESERVATION_SECS", 0); err != nil {
		return c, err
	}
	c.debug = variable("DEBUG") == "true"
	return c, nil
}

func (c config) log(words ...any) {
	if c.debug {
		fmt.Fprintln(os.Stderr, words...)
	}
}

// Trace is told by the hole puncher what it does.
func (c config) Trace(event *holepunch.Event) { c.log(event.Type, fmt.Sprintf("%+v", event.Evt)) }

func newHost(c config) (host.Host, error) {
	rest := "tcp/0"
	options := []libp2p.Option{
		libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.UserAgent("libp2p-lean-hole-punch/1.0.0"),
		// Connections through the relay are secured and multiplexed with these, whatever the transport.
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
	}
	if c.quic {
		rest = "udp/0/quic-v1"
		options = append(options, libp2p.Transport(libp2pquic.NewTransport))
	} else {
		options = append(options, libp2p.Transport(tcp.NewTCPTransport))
	}
	options = append(options, libp2p.ListenAddrStrings("/ip4/"+c.ip+"/"+rest))
	if c.role == "relay" {
		resources := relay.DefaultResources()
		if c.reservation > 0 {
			resources.ReservationTTL = c.reservation
		}
		options = append(options, libp2p.ForceReachabilityPublic(), libp2p.EnableRelayService(relay.WithResources(resources)))
	} else {
		options = append(options, libp2p.ForceReachabilityPrivate(), libp2p.EnableHolePunching(holepunch.WithTracer(c)))
	}
	return libp2p.New(options...)
}

// ask runs one Redis command, trying until the context ends: Redis may start after us.
func ask(ctx context.Context, c config, words ...string) (string, bool, error) {
	r, err := connectRedis(ctx, c.redis)
	if err != nil {
		return "", false, err
	}
	defer r.Close()
	return r.command(words...)
}

func get(ctx context.Context, c config, name string) (string, error) {
	for {
		value, ok, err := ask(ctx, c, "GET", c.key+"_"+name)
		if err != nil || ok {
			return value, err
		}
		if err := pause(ctx); err != nil {
			return "", fmt.Errorf("nothing under %s_%s in time", c.key, name)
		}
	}
}

func set(ctx context.Context, c config, name, value string) error {
	_, _, err := ask(ctx, c, "SET", c.key+"_"+name, value)
	return err
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(poll):
		return nil
	}
}

func runRelay(ctx context.Context, c config, h host.Host) error {
	addresses, err := h.Network().InterfaceListenAddresses()
	if err != nil {
		return err
	}
	best := slices.IndexFunc(addresses, func(a ma.Multiaddr) bool {
		_, err := a.ValueForProtocol(ma.P_CIRCUIT)
		return err != nil && !manet.IsIPLoopback(a)
	})
	if best < 0 {
		return errors.New("no listen address")
	}
	if err := set(ctx, c, "relay_multiaddr", fmt.Sprintf("%s/p2p/%s", addresses[best], h.ID())); err != nil {
		return err
	}
	<-ctx.Done()
	return errors.New("nobody ended this relay in time")
}

// join connects to the relay and resolves once the hole puncher is ready, which needs an address as the relay sees it.
func join(ctx context.Context, c config, h host.Host) (*peer.AddrInfo, error) {
	text, err := get(ctx, c, "relay_multiaddr")
	if err != nil {
		return nil, err
	}
	info, err := peer.AddrInfoFromString(text)
	if err != nil {
		return nil, fmt.Errorf("redis held %s: %w", text, err)
	}
	if err := h.Connect(ctx, *info); err != nil {
		return nil, fmt.Errorf("dialling the relay: %w", err)
	}
	for !slices.Contains(h.Mux().Protocols(), holepunch.Protocol) {
		if err := pause(ctx); err != nil {
			return nil, errors.New("no address of ours that the hole puncher takes for public, in time")
		}
	}
	return info, nil
}

func runListener(ctx context.Context, c config, h host.Host) error {
	info, err := join(ctx, c, h)
	if err != nil {
		return err
	}
	if _, err := client.Reserve(ctx, h, *info); err != nil {
		return fmt.Errorf("no reservation: %w", err)
	}
	if err := set(ctx, c, "listener_peer_id", h.ID().String()); err != nil {
		return err
	}
	<-ctx.Done()
	return errors.New("nobody ended this listener in time")
}

func isRelayed(connection network.Conn) bool {
	_, err := connection.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

func runDialer(ctx context.Context, c config, h host.Host) error {
	info, err := join(ctx, c, h)
	if err != nil {
		return err
	}
	text, err := get(ctx, c, "listener_peer_id")
	if err != nil {
		return err
	}
	listener, err := peer.Decode(text)
	if err != nil {
		return fmt.Errorf("redis held %s: %w", text, err)
	}
	address, err := ma.NewMultiaddr(fmt.Sprintf("%s/p2p/%s/p2p-circuit", info.Addrs[0], info.ID))
	if err != nil {
		return err
	}
	// The direct connection may come from either side. Connect returns later than the relayed one is up: it waits for
	// identify.
	found, up := make(chan time.Time, 1), make(chan time.Time, 1)
	h.Network().Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, connection network.Conn) {
		if connection.RemotePeer() != listener {
			return
		}
		seen := found
		if isRelayed(connection) {
			seen = up
		}
		select {
		case seen <- time.Now():
		default:
		}
	}})

	limited := network.WithAllowLimitedConn(ctx, "hole-punch test")
	start := time.Now()
	if err := h.Connect(limited, peer.AddrInfo{ID: listener, Addrs: []ma.Multiaddr{address}}); err != nil {
		return fmt.Errorf("dialling through the relay: %w", err)
	}
	relayed := <-up
	var patience <-chan time.Time
	if c.punchTimeout > 0 {
		patience = time.After(c.punchTimeout)
	}
	var direct time.Time
	select {
	case direct = <-found:
	case <-patience:
	case <-ctx.Done():
		return errors.New("no direct connection in time")
	}
	// A stream goes over the direct connection if there is one.
	result, ok := <-ping.Ping(limited, h, listener)
	if !ok {
		return errors.New("no ping in time")
	}
	if result.Error != nil {
		return fmt.Errorf("ping: %w", result.Error)
	}
	end := direct
	if direct.IsZero() {
		end = relayed
	}
	fmt.Printf("latency:\n  handshake_plus_one_rtt: %.3f\n  ping_rtt: %.3f\n  unit: ms\n", ms(end.Sub(start)+result.RTT), ms(result.RTT))
	if c.punchTimeout == 0 {
		return nil
	}
	if direct.IsZero() {
		fmt.Printf("hole_punch:\n  connection: relayed\n  relayed_after: %.3f\n", ms(relayed.Sub(start)))
		return nil
	}
	fmt.Printf("hole_punch:\n  connection: direct\n  relayed_after: %.3f\n  relayed_to_direct: %.3f\n", ms(relayed.Sub(start)), ms(max(0, direct.Sub(relayed))))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func run() error {
	c, err := configure()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	h, err := newHost(c)
	if err != nil {
		return err
	}
	defer h.Close()
	switch c.role {
	case "relay":
		return runRelay(ctx, c, h)
	case "listener":
		return runListener(ctx, c, h)
	default:
		return runDialer(ctx, c, h)
	}
}

func main() {
	err := run()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	switch {
	case errors.Is(err, errConfiguration):
		os.Exit(2)
	case errors.Is(err, errUnsupported):
		os.Exit(127)
	default:
		os.Exit(1)
	}
}
