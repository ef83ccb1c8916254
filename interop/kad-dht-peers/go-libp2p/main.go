// A participant of unified-testing's kad-dht suite on go-libp2p and go-libp2p-kad-dht, built on the
// published modules only.
//
// ROLE says what it does (docs/peers.md): a bootstrap publishes its address, a provider announces
// itself and stores a value, a querier finds both. stdout carries the querier's result and nothing
// else. Exit codes: 0 found, 1 failed, 2 configuration wrong, 127 a transport it does not have.
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

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multihash"
)

// attempts bounds how often a querier asks; between two it waits for pause.
const (
	attempts = 10
	pause    = 500 * time.Millisecond
)

// errConfiguration and errUnsupported choose the exit code; any other error is a failure.
var (
	errConfiguration = errors.New("configuration")
	errUnsupported   = errors.New("unsupported")
)

// config is what the environment asks for. redis.go reads redis, key and unified.
type config struct {
	unified   bool
	role      string
	transport string
	ip        string
	redis     string
	key       string
	testKey   string
	timeout   time.Duration
	debug     bool
}

// variable is an environment variable's value; unset, empty and `null` are the same.
func variable(name, fallback string) string {
	value := strings.TrimSpace(os.Getenv(name))
	if value == "" || value == "null" {
		return fallback
	}
	return value
}

func oneOf(name, fallback string, known ...string) (string, error) {
	value := variable(name, fallback)
	if !slices.Contains(known, value) {
		return "", fmt.Errorf("%w: %s=%s: want one of %s", errConfiguration, name, value, strings.Join(known, ", "))
	}
	return value, nil
}

func configure() (c config, err error) {
	if c.role, err = oneOf("ROLE", "", "bootstrap", "provider", "querier"); err != nil {
		return c, err
	}
	if c.transport, err = oneOf("TRANSPORT", "tcp", "tcp", "quic-v1", "ws", "wss"); err != nil {
		return c, err
	}
	if c.testKey = variable("TEST_KEY", ""); c.testKey == "" {
		return c, fmt.Errorf("%w: TEST_KEY is not set", errConfiguration)
	}
	if c.ip = variable("LISTENER_IP", ""); c.ip != "" && net.ParseIP(c.ip).To4() == nil {
		return c, fmt.Errorf("%w: LISTENER_IP=%s: not an IPv4 address", errConfiguration, c.ip)
	}
	seconds := variable("TEST_TIMEOUT_SECS", "180")
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil || !(s > 0 && s < 1e6) {
		return c, fmt.Errorf("%w: TEST_TIMEOUT_SECS=%s: not a number of seconds", errConfiguration, seconds)
	}
	c.timeout = time.Duration(s * float64(time.Second))
	c.redis = variable("REDIS_ADDR", "redis:6379")
	c.debug = variable("DEBUG", "") == "true"
	if c.transport != "tcp" && c.transport != "quic-v1" {
		return c, fmt.Errorf("%w: no %s in this peer", errUnsupported, c.transport)
	}
	return c, nil
}

func (c config) under(suffix string) config {
	c.key = c.testKey + suffix
	return c
}

func (c config) log(words ...any) {
	if c.debug {
		fmt.Fprintln(os.Stderr, words...)
	}
}

// set makes a key a string, which is what this suite's participants read.
func set(ctx context.Context, c config, value string) error {
	r, err := connectRedis(ctx, c.redis)
	if err != nil {
		return err
	}
	defer r.Close()
	_, _, err = r.command("SET", c.key, value)
	return err
}

// ownIP is this machine's address on the way to Redis, where the other participants are, too.
func ownIP(ctx context.Context, c config) (string, error) {
	if c.ip != "" {
		return c.ip, nil
	}
	r, err := connectRedis(ctx, c.redis)
	if err != nil {
		return "", err
	}
	defer r.Close()
	ip, _, err := net.SplitHostPort(r.LocalAddr().String())
	return ip, err
}

func newHost(ctx context.Context, c config) (host.Host, error) {
	ip, err := ownIP(ctx, c)
	if err != nil {
		return nil, err
	}
	options := []libp2p.Option{
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.UserAgent("libp2p-lean-peer/1.0.0"),
	}
	if c.transport == "tcp" {
		options = append(options,
			libp2p.Transport(tcp.NewTCPTransport),
			libp2p.Security(noise.ID, noise.New),
			libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
			libp2p.ListenAddrStrings("/ip4/"+ip+"/tcp/0"))
	} else {
		options = append(options,
			libp2p.Transport(libp2pquic.NewTransport),
			libp2p.ListenAddrStrings("/ip4/"+ip+"/udp/0/quic-v1"))
	}
	return libp2p.New(options...)
}

// anyRecord takes every record, as the other participants of the suite do.
type anyRecord struct{}

func (anyRecord) Validate(string, []byte) error        { return nil }
func (anyRecord) Select(string, [][]byte) (int, error) { return 0, nil }

func newDHT(ctx context.Context, c config, h host.Host) (*dht.IpfsDHT, error) {
	mode := dht.ModeServer
	if c.role == "querier" {
		mode = dht.ModeClient
	}
	return dht.New(ctx, h,
		dht.Mode(mode),
		// Under the prefix /ipfs go takes public keys and IPNS records only: so another prefix, and
		// the public network's protocol id nevertheless.
		dht.ProtocolPrefix("/interop"),
		dht.V1ProtocolOverride("/ipfs/kad/1.0.0"),
		dht.NamespacedValidator("example", anyRecord{}))
}

// connect dials the bootstrap and waits until the DHT knows it as a server.
func connect(ctx context.Context, c config, h host.Host, d *dht.IpfsDHT) error {
	address, err := fetch(ctx, c.under("_bootstrap_addr"))
	if err != nil {
		return err
	}
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return fmt.Errorf("the bootstrap published %s: %w", address, err)
	}
	c.log("dialling", address)
	if err := h.Connect(ctx, *info); err != nil {
		return err
	}
	for d.RoutingTable().Size() == 0 {
		select {
		case <-ctx.Done():
			return errors.New("the bootstrap did not become part of the routing table in time")
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// providerKey has the key's bytes where a multihash belongs: the suite's keys are plain text.
func providerKey(c config) cid.Cid {
	return cid.NewCidV1(cid.Raw, multihash.Multihash("interop-test-key-"+c.testKey))
}

func valueKey(c config) string { return "/example/data/" + c.testKey }

func provide(ctx context.Context, c config, d *dht.IpfsDHT) error {
	if err := d.Provide(ctx, providerKey(c), true); err != nil {
		return fmt.Errorf("could not announce the provider: %w", err)
	}
	if err := d.PutValue(ctx, valueKey(c), []byte("hello from go client")); err != nil {
		return fmt.Errorf("could not put the value: %w", err)
	}
	return set(ctx, c.under("_provider_done"), "done")
}

// eventually asks until there is an answer.
func eventually(ctx context.Context, ask func() error) error {
	for attempt := 1; ; attempt++ {
		err := ask()
		if err == nil || attempt == attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func query(ctx context.Context, c config, d *dht.IpfsDHT) error {
	err := eventually(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		for found := range d.FindProvidersAsync(ctx, providerKey(c), 1) {
			c.log("provider", found)
			return nil
		}
		return errors.New("no provider was found")
	})
	if err != nil {
		return err
	}
	return eventually(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		value, err := d.GetValue(ctx, valueKey(c))
		if err != nil {
			return fmt.Errorf("no value was found: %w", err)
		}
		c.log("value", string(value))
		if !strings.Contains(string(value), "hello from") {
			return fmt.Errorf("the value is %.80q", value)
		}
		return nil
	})
}

func stay(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("nobody ended this participant in time")
}

func run(c config) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	h, err := newHost(ctx, c)
	if err != nil {
		return err
	}
	defer h.Close()
	d, err := newDHT(ctx, c, h)
	if err != nil {
		return err
	}
	defer d.Close()
	if c.role == "bootstrap" {
		addresses, err := h.Network().InterfaceListenAddresses()
		if err != nil || len(addresses) == 0 {
			return errors.Join(errors.New("no listen address"), err)
		}
		address := fmt.Sprintf("%s/p2p/%s", addresses[0], h.ID())
		c.log("listening on", address)
		if err := set(ctx, c.under("_bootstrap_addr"), address); err != nil {
			return err
		}
		return stay(ctx)
	}
	if c.role == "querier" {
		if _, err := fetch(ctx, c.under("_provider_done")); err != nil {
			return err
		}
	}
	if err := connect(ctx, c, h, d); err != nil {
		return err
	}
	if c.role == "provider" {
		if err := provide(ctx, c, d); err != nil {
			return err
		}
		return stay(ctx)
	}
	return query(ctx, c, d)
}

func main() {
	c, err := configure()
	if err == nil {
		err = run(c)
		if c.role == "querier" {
			if err != nil {
				fmt.Printf("error: %s\nstatus: fail\n", strings.ReplaceAll(err.Error(), "\n", " "))
			} else {
				fmt.Println("status: pass")
			}
		}
	}
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
