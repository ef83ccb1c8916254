// Identify and identify push on go-libp2p, built on the published module only, for
// test/js-libp2p/identify-push.test.ts.
//
//	<listen multiaddr>
//
// Prints its address; then, whenever identify told it of a peer, by a push too, a line of JSON: the peer's id and its
// protocols. A line on its stdin is the name of a protocol that it has from then on, which go-libp2p pushes to its
// peers. Ends with its stdin. Exit codes: 0, 1 failed, 2 wrong arguments.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: <listen multiaddr>")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen string) error {
	h, err := libp2p.New(libp2p.ListenAddrStrings(listen))
	if err != nil {
		return err
	}
	defer h.Close()
	events, err := h.EventBus().Subscribe([]interface{}{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerProtocolsUpdated),
	})
	if err != nil {
		return err
	}
	defer events.Close()
	fmt.Printf("%s/p2p/%s\n", h.Addrs()[0], h.ID())
	go report(h, events)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		h.SetStreamHandler(protocol.ID(lines.Text()), func(s network.Stream) { _ = s.Close() })
	}
	return lines.Err()
}

func report(h host.Host, events event.Subscription) {
	for e := range events.Out() {
		var id peer.ID
		switch e := e.(type) {
		case event.EvtPeerIdentificationCompleted:
			id = e.Peer
		case event.EvtPeerProtocolsUpdated:
			id = e.Peer
		}
		protocols, err := h.Peerstore().GetProtocols(id)
		if err != nil {
			continue
		}
		line, _ := json.Marshal(map[string]any{"peer": id.String(), "protocols": protocols})
		fmt.Println(string(line))
	}
}
