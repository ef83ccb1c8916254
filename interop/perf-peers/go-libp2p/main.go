// A perf peer on go-libp2p, built on the published module only; ../README.md says how it is driven.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const (
	protocolID = "/perf/1.0.0"
	timeout    = 5 * time.Minute
)

var zeros = make([]byte, 64<<10)

func newHost(listen ...string) (host.Host, error) {
	addresses := libp2p.NoListenAddrs
	if len(listen) > 0 {
		addresses = libp2p.ListenAddrStrings(listen...)
	}
	return libp2p.New(
		addresses,
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
	)
}

func sendZeros(stream io.Writer, count uint64) error {
	for count > 0 {
		chunk := zeros[:min(count, uint64(len(zeros)))]
		if _, err := stream.Write(chunk); err != nil {
			return err
		}
		count -= uint64(len(chunk))
	}
	return nil
}

// drain reads to the end, into one buffer of its own.
func drain(stream io.Reader) (uint64, error) {
	buffer := make([]byte, 64<<10)
	var total uint64
	for {
		n, err := stream.Read(buffer)
		total += uint64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func serve(stream network.Stream) {
	err := func() error {
		var count [8]byte
		if _, err := io.ReadFull(stream, count[:]); err != nil {
			return err
		}
		if _, err := drain(stream); err != nil {
			return err
		}
		if err := sendZeros(stream, binary.BigEndian.Uint64(count[:])); err != nil {
			return err
		}
		return stream.Close()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "serving:", err)
		stream.Reset()
	}
}

func transfer(ctx context.Context, h host.Host, id peer.ID, up, down uint64) error {
	stream, err := h.NewStream(ctx, id, protocolID)
	if err != nil {
		return err
	}
	defer stream.Reset()
	var count [8]byte
	binary.BigEndian.PutUint64(count[:], down)
	if _, err := stream.Write(count[:]); err != nil {
		return err
	}
	if err := sendZeros(stream, up); err != nil {
		return err
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	got, err := drain(stream)
	if err == nil && got != down {
		err = fmt.Errorf("got %d of %d bytes", got, down)
	}
	return err
}

type dialer struct {
	host   host.Host
	remote peer.AddrInfo
}

func (d dialer) parallel(ctx context.Context, up, down uint64, streams int) (float64, error) {
	if err := d.host.Connect(ctx, d.remote); err != nil {
		return 0, err
	}
	start := time.Now()
	errs := make(chan error, streams)
	for range streams {
		go func() { errs <- transfer(ctx, d.host, d.remote.ID, up, down) }()
	}
	var failed error
	for range streams {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return milliseconds(start), failed
}

func (d dialer) run(line string) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var command string
	var a, b uint64
	var streams int
	fmt.Sscan(line, &command, &a, &b, &streams)
	if err := d.host.Network().ClosePeer(d.remote.ID); err != nil {
		return nil, err
	}
	switch command {
	case "transfer":
		return d.parallel(ctx, a, b, streams)
	case "roundtrips":
		if err := d.host.Connect(ctx, d.remote); err != nil {
			return nil, err
		}
		times := make([]float64, 0, a)
		for range a {
			start := time.Now()
			if err := transfer(ctx, d.host, d.remote.ID, 1, 1); err != nil {
				return nil, err
			}
			times = append(times, milliseconds(start))
		}
		return times, nil
	case "handshakes":
		times := make([]float64, 0, a)
		for range a {
			start := time.Now()
			if err := d.host.Connect(ctx, d.remote); err != nil {
				return nil, err
			}
			if err := transfer(ctx, d.host, d.remote.ID, 1, 1); err != nil {
				return nil, err
			}
			times = append(times, milliseconds(start))
			if err := d.host.Network().ClosePeer(d.remote.ID); err != nil {
				return nil, err
			}
		}
		return times, nil
	}
	return nil, fmt.Errorf("no command %q", line)
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since).Nanoseconds()) / 1e6
}

func listen(transport string) error {
	address := "/ip4/127.0.0.1/tcp/0"
	if transport == "quic-v1" {
		address = "/ip4/127.0.0.1/udp/0/quic-v1"
	}
	h, err := newHost(address)
	if err != nil {
		return err
	}
	h.SetStreamHandler(protocolID, serve)
	fmt.Printf("%s/p2p/%s\n", h.Network().ListenAddresses()[0], h.ID())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func dial(address string) error {
	remote, err := peer.AddrInfoFromString(address)
	if err != nil {
		return err
	}
	h, err := newHost()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		ms, err := dialer{h, *remote}.run(lines.Text())
		if err != nil {
			err = out.Encode(map[string]string{"error": err.Error()})
		} else {
			err = out.Encode(map[string]any{"ms": ms})
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	err := fmt.Errorf("usage: listen quic-v1|tcp, or dial <multiaddr>")
	if len(os.Args) == 3 && os.Args[1] == "listen" {
		err = listen(os.Args[2])
	} else if len(os.Args) == 3 && os.Args[1] == "dial" {
		err = dial(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
