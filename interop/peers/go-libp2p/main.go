// An interop participant on go-libp2p, built on the published module only.
//
// It obeys both harness dialects (docs/peers.md): stdout carries the dialer's result and nothing
// else. Exit codes: 0 result printed, 1 failed, 2 configuration wrong, 127 a combination that
// exists in the matrix but not here.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
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
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ws "github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

var (
	transports     = []string{"quic-v1", "quic", "tcp", "ws", "wss", "webtransport", "webrtc-direct", "webrtc"}
	secureChannels = []string{"noise", "tls", "plaintext"}
	muxers         = []string{"yamux", "mplex"}
)

// errConfiguration and errUnsupported choose the exit code; any other error is a failure.
var (
	errConfiguration = errors.New("configuration")
	errUnsupported   = errors.New("unsupported")
)

// config is what the environment asks for, whichever dialect it speaks.
type config struct {
	unified       bool
	dialer        bool
	transport     string
	secureChannel string
	muxer         string
	ip            net.IP
	redis         string
	key           string
	timeout       time.Duration
	debug         bool
}

// variable is an environment variable's value; unset, empty and `null` are the same.
func variable(name string) string {
	value := strings.TrimSpace(os.Getenv(name))
	if value == "null" {
		return ""
	}
	return value
}

func oneOf(name string, known []string) (string, error) {
	value := variable(name)
	if value == "" {
		return "", fmt.Errorf("%w: %s is not set", errConfiguration, name)
	}
	if !slices.Contains(known, value) {
		return "", fmt.Errorf("%w: %s=%s: want one of %s", errConfiguration, name, value, strings.Join(known, ", "))
	}
	return value, nil
}

func configure() (c config, err error) {
	c.unified = variable("IS_DIALER") != "" || variable("is_dialer") == ""
	name := func(unified, legacy string) string {
		if c.unified {
			return unified
		}
		return legacy
	}
	orElse := func(name, fallback string) string {
		if value := variable(name); value != "" {
			return value
		}
		return fallback
	}

	role, err := oneOf(name("IS_DIALER", "is_dialer"), []string{"true", "false"})
	if err != nil {
		return c, err
	}
	c.dialer = role == "true"
	if c.transport, err = oneOf(name("TRANSPORT", "transport"), transports); err != nil {
		return c, err
	}
	if slices.Contains([]string{"tcp", "ws", "wss"}, c.transport) {
		if c.secureChannel, err = oneOf(name("SECURE_CHANNEL", "security"), secureChannels); err != nil {
			return c, err
		}
		if c.muxer, err = oneOf(name("MUXER", "muxer"), muxers); err != nil {
			return c, err
		}
	}
	ip := orElse(name("LISTENER_IP", "ip"), "0.0.0.0")
	if c.ip = net.ParseIP(ip); c.ip == nil {
		return c, fmt.Errorf("%w: %s=%s: not an IP address", errConfiguration, name("LISTENER_IP", "ip"), ip)
	}
	seconds := orElse(name("TEST_TIMEOUT_SECS", "test_timeout_seconds"), "180")
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil || !(s > 0 && s < 1e6) {
		return c, fmt.Errorf("%w: %s=%s: not a number of seconds", errConfiguration, name("TEST_TIMEOUT_SECS", "test_timeout_seconds"), seconds)
	}
	c.timeout = time.Duration(s * float64(time.Second))
	c.redis = orElse(name("REDIS_ADDR", "redis_addr"), "redis:6379")
	c.key = "listenerAddr"
	if c.unified {
		key := variable("TEST_KEY")
		if key == "" {
			return c, fmt.Errorf("%w: TEST_KEY is not set", errConfiguration)
		}
		c.key = key + "_listener_multiaddr"
		c.debug = variable("DEBUG") == "true"
	}
	return c, nil
}

func (c config) listenAddress() string {
	family := "ip6"
	if c.ip.To4() != nil {
		family = "ip4"
	}
	rest := map[string]string{"quic-v1": "/udp/0/quic-v1", "tcp": "/tcp/0", "ws": "/tcp/0/ws", "wss": "/tcp/0/tls/ws"}
	return "/" + family + "/" + c.ip.String() + rest[c.transport]
}

// hostOptions configures exactly the transport, secure channel and muxer that were asked for.
func hostOptions(c config) ([]libp2p.Option, error) {
	unsupported := func(what string) ([]libp2p.Option, error) {
		return nil, fmt.Errorf("%w: no %s in this peer", errUnsupported, what)
	}
	options := []libp2p.Option{
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.UserAgent("libp2p-lean-peer/1.0.0"),
	}
	switch c.transport {
	case "quic-v1":
		options = append(options, libp2p.Transport(libp2pquic.NewTransport))
	case "tcp":
		options = append(options, libp2p.Transport(tcp.NewTCPTransport))
	case "ws":
		options = append(options, libp2p.Transport(ws.New))
	case "wss":
		certificate, err := selfSigned()
		if err != nil {
			return nil, err
		}
		// The secure channel above authenticates the peer; the outer TLS certificate is self-signed.
		options = append(options, libp2p.Transport(ws.New,
			ws.WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{certificate}}),
			ws.WithTLSClientConfig(&tls.Config{InsecureSkipVerify: true})))
	default:
		return unsupported(c.transport)
	}
	switch c.secureChannel {
	case "":
	case "noise":
		options = append(options, libp2p.Security(noise.ID, noise.New))
	case "tls":
		options = append(options, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	default:
		return unsupported(c.secureChannel)
	}
	switch c.muxer {
	case "":
	case "yamux":
		options = append(options, libp2p.Muxer(yamux.ID, yamux.DefaultTransport))
	default:
		return unsupported(c.muxer)
	}
	if c.dialer {
		return append(options, libp2p.NoListenAddrs), nil
	}
	return append(options, libp2p.ListenAddrStrings(c.listenAddress())), nil
}

// selfSigned makes the certificate of a wss listener.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func dial(ctx context.Context, c config, h host.Host) error {
	address, err := fetch(ctx, c)
	if err != nil {
		return err
	}
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return fmt.Errorf("the listener published %s: %w", address, err)
	}
	c.log("dialling", address)
	start := time.Now()
	if err := h.Connect(ctx, *info); err != nil {
		return err
	}
	result, ok := <-ping.Ping(ctx, h, info.ID)
	total := time.Since(start)
	if !ok {
		return errors.New("no ping in time")
	}
	if result.Error != nil {
		return result.Error
	}
	if c.unified {
		fmt.Printf("latency:\n  handshake_plus_one_rtt: %.3f\n  ping_rtt: %.3f\n  unit: ms\n", ms(total), ms(result.RTT))
	} else {
		fmt.Printf("{\"handshakePlusOneRTTMillis\": %.3f, \"pingRTTMilllis\": %.3f}\n", ms(total), ms(result.RTT))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func listen(ctx context.Context, c config, h host.Host) error {
	addresses, err := h.Network().InterfaceListenAddresses()
	if err != nil {
		return err
	}
	if len(addresses) == 0 {
		return errors.New("no listen address")
	}
	best := slices.IndexFunc(addresses, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) })
	address := fmt.Sprintf("%s/p2p/%s", addresses[max(best, 0)], h.ID())
	c.log("listening on", address)
	if err := publish(ctx, c, address); err != nil {
		return err
	}
	<-ctx.Done()
	return errors.New("nobody ended this listener in time")
}

func (c config) log(words ...any) {
	if c.debug {
		fmt.Fprintln(os.Stderr, words...)
	}
}

func run() error {
	c, err := configure()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	options, err := hostOptions(c)
	if err != nil {
		return err
	}
	h, err := libp2p.New(options...)
	if err != nil {
		return err
	}
	defer h.Close()
	if c.dialer {
		return dial(ctx, c, h)
	}
	return listen(ctx, c, h)
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
