// AutoNAT on go-libp2p, built on the published module only, for test/nat/autonat.test.ts.
//
//	serve <listen multiaddr>            serves AutoNAT v1 and v2; prints its address
//	ask-v1 <server> <listen multiaddr>  asks the server about the address it listens on; prints yes or no
//	ask-v2 <server> <listen multiaddr> [multiaddr]  the same, or about the last one; prints <address> <yes|no|refused>
//
// Ends with its stdin. Exit codes: 0, 1 failed, 2 wrong arguments.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/autonat"
	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2"
	ma "github.com/multiformats/go-multiaddr"
)

var errUsage = errors.New("usage: serve <address> | ask-v1|ask-v2 <server> <address> [address]")

const patience = 30 * time.Second

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	err := run(ctx, os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(ctx, args[1])
	case len(args) >= 3 && args[0] == "ask-v1":
		return askV1(ctx, args[1], args[2])
	case len(args) >= 3 && args[0] == "ask-v2":
		return askV2(ctx, args[1], args[2], args[len(args)-1])
	}
	return errUsage
}

func serve(ctx context.Context, listen string) error {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings(listen),
		libp2p.EnableNATService(),
		libp2p.EnableAutoNATv2(),
		libp2p.ForceReachabilityPublic(),
		// It dials no QUIC addresses before it has seen that UDP gets through.
		libp2p.UDPBlackHoleSuccessCounter(nil),
	)
	if err != nil {
		return err
	}
	defer h.Close()
	fmt.Printf("%s/p2p/%s\n", h.Addrs()[0], h.ID())
	<-ctx.Done()
	return nil
}

func connect(ctx context.Context, server, listen string, options ...libp2p.Option) (host.Host, peer.ID, error) {
	info, err := peer.AddrInfoFromString(server)
	if err != nil {
		return nil, "", err
	}
	h, err := libp2p.New(append(options, libp2p.ListenAddrStrings(listen))...)
	if err != nil {
		return nil, "", err
	}
	if err := h.Connect(ctx, *info); err != nil {
		h.Close()
		return nil, "", err
	}
	return h, info.ID, nil
}

func askV1(ctx context.Context, server, listen string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h, id, err := connect(ctx, server, listen)
	if err != nil {
		return err
	}
	defer h.Close()
	err = autonat.NewAutoNATClient(h, h.Addrs, nil).DialBack(ctx, id)
	if err != nil && !autonat.IsDialError(err) {
		return err
	}
	fmt.Println(word(err == nil))
	return nil
}

func askV2(ctx context.Context, server, listen, about string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	addr, err := ma.NewMultiaddr(about)
	if err != nil {
		return err
	}
	dialer, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		return err
	}
	nat, err := autonatv2.New(dialer)
	if err != nil {
		return err
	}
	h, _, err := connect(ctx, server, listen)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := nat.Start(h); err != nil {
		return err
	}
	defer nat.Close()
	// It learns of servers by identify, which the connection has begun with.
	if err := h.Connect(ctx, peer.AddrInfo{ID: h.Network().Peers()[0]}); err != nil {
		return err
	}
	for {
		result, err := nat.GetReachability(ctx, []autonatv2.Request{{Addr: addr, SendDialData: true}})
		if errors.Is(err, autonatv2.ErrNoPeers) && ctx.Err() == nil {
			reconnect(ctx, h, server)
			continue
		}
		if err != nil {
			return err
		}
		if result.AllAddrsRefused {
			fmt.Println(about, "refused")
			return nil
		}
		fmt.Println(result.Addr, word(result.Reachability == network.ReachabilityPublic))
		return nil
	}
}

// reconnect connects once more: only events that come after Start tell AutoNAT of a server.
func reconnect(ctx context.Context, h host.Host, server string) {
	info, err := peer.AddrInfoFromString(server)
	if err != nil {
		return
	}
	_ = h.Network().ClosePeer(info.ID)
	_ = h.Connect(ctx, *info)
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
	}
}

func word(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
