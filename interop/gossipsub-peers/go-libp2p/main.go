// A node of test-plans' gossipsub-interop on go-libp2p and go-libp2p-pubsub, built on the published modules
// only: does what its params file says and logs every message that it receives, duplicates too, as JSON.
//
// It listens on tcp and quic-v1, and dials others over the one that -transport names. Partial messages,
// which no published go-libp2p-pubsub has, end it.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	port           = 9000
	connectTimeout = 20 * time.Second
	connectPause   = 200 * time.Millisecond
)

// instruction has the fields of all instructions; test-specs/ of gossipsub-interop says which has which.
type instruction struct {
	Type             string          `json:"type"`
	GossipSubParams  json.RawMessage `json:"gossipSubParams"`
	ConnectTo        []int           `json:"connectTo"`
	NodeID           int             `json:"nodeID"`
	Instruction      *instruction    `json:"instruction"`
	ElapsedSeconds   float64         `json:"elapsedSeconds"`
	MessageID        uint64          `json:"messageID"`
	MessageSizeBytes int             `json:"messageSizeBytes"`
	TopicID          string          `json:"topicID"`
	Partial          bool            `json:"partial"`
	DelaySeconds     float64         `json:"delaySeconds"`
}

// nodeKey is the key of a node: its number, little-endian, as the seed.
func nodeKey(id int) (crypto.PrivKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	binary.LittleEndian.PutUint64(seed, uint64(id))
	return crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
}

func messageID(data []byte) string {
	if len(data) < 8 {
		return "0"
	}
	return fmt.Sprint(binary.BigEndian.Uint64(data))
}

// tracer logs what arrives, before duplicates are dropped.
type tracer struct{ log *slog.Logger }

func (t tracer) Trace(event *pb.TraceEvent) {
	if event.GetType() != pb.TraceEvent_RECV_RPC {
		return
	}
	received := event.GetRecvRPC()
	from := peer.ID(received.GetReceivedFrom()).String()
	for _, message := range received.GetMeta().GetMessages() {
		t.log.Info("Received Message", "service", "gossipsub", "from", from,
			"topic", message.GetTopic(), "id", messageID(message.GetMessageID()))
	}
}

type node struct {
	id        int
	transport string
	host      host.Host
	log       *slog.Logger
	start     time.Time
	pubsub    *pubsub.PubSub
	topics    map[string]*pubsub.Topic
}

func (n *node) initialise(ctx context.Context, given json.RawMessage) (err error) {
	params := pubsub.DefaultGossipSubParams()
	if err := json.Unmarshal(given, &params); err != nil {
		return err
	}
	n.pubsub, err = pubsub.NewGossipSub(ctx, n.host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pb.Message) string { return string(m.Data[:min(8, len(m.Data))]) }),
		pubsub.WithPeerOutboundQueueSize(600),
		pubsub.WithValidateQueueSize(600),
		pubsub.WithMaxMessageSize(10<<20),
		pubsub.WithGossipSubParams(params),
		pubsub.WithEventTracer(tracer{n.log}))
	return err
}

// connect dials a node, which may start after us.
func (n *node) connect(ctx context.Context, id int) error {
	key, err := nodeKey(id)
	if err != nil {
		return err
	}
	peerID, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for {
		addresses, err := net.DefaultResolver.LookupIP(ctx, "ip4", fmt.Sprintf("node%d", id))
		if err == nil && len(addresses) > 0 {
			rest := map[string]string{"tcp": "tcp/%d", "quic-v1": "udp/%d/quic-v1"}[n.transport]
			text := fmt.Sprintf("/ip4/%s/"+rest+"/p2p/%s", addresses[0], port, peerID)
			var info *peer.AddrInfo
			if info, err = peer.AddrInfoFromString(text); err == nil {
				err = n.host.Connect(network.WithForceDirectDial(ctx, "script"), *info)
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node%d: %w", id, err)
		case <-time.After(connectPause):
		}
	}
}

func (n *node) topic(name string) (*pubsub.Topic, error) {
	if topic, ok := n.topics[name]; ok {
		return topic, nil
	}
	topic, err := n.pubsub.Join(name)
	n.topics[name] = topic
	return topic, err
}

func (n *node) execute(ctx context.Context, it *instruction) error {
	switch it.Type {
	case "ifNodeIDEquals":
		if it.NodeID != n.id || it.Instruction == nil {
			return nil
		}
		return n.execute(ctx, it.Instruction)
	case "initGossipSub":
		return n.initialise(ctx, it.GossipSubParams)
	case "connect":
		for _, id := range it.ConnectTo {
			if err := n.connect(ctx, id); err != nil {
				return err
			}
		}
		return nil
	case "waitUntil":
		time.Sleep(time.Until(n.start.Add(time.Duration(it.ElapsedSeconds * float64(time.Second)))))
		return nil
	case "publish":
		topic, err := n.topic(it.TopicID)
		if err != nil {
			return err
		}
		data := make([]byte, max(it.MessageSizeBytes, 8))
		binary.BigEndian.PutUint64(data, it.MessageID)
		return topic.Publish(ctx, data)
	case "subscribeToTopic":
		if it.Partial {
			return fmt.Errorf("no partial messages in this peer")
		}
		topic, err := n.topic(it.TopicID)
		if err != nil {
			return err
		}
		subscription, err := topic.Subscribe()
		if err != nil {
			return err
		}
		go func() {
			for {
				if _, err := subscription.Next(ctx); err != nil {
					return
				}
			}
		}()
		return nil
	case "setTopicValidationDelay":
		pause := time.Duration(it.DelaySeconds * float64(time.Second))
		return n.pubsub.RegisterTopicValidator(it.TopicID,
			func(context.Context, peer.ID, *pubsub.Message) pubsub.ValidationResult {
				time.Sleep(pause)
				return pubsub.ValidationAccept
			})
	default:
		return fmt.Errorf("no %q in this peer", it.Type)
	}
}

func run() error {
	n := &node{start: time.Now(), topics: map[string]*pubsub.Topic{}, log: slog.New(slog.NewJSONHandler(os.Stdout, nil))}
	file := flag.String("params", "", "the experiment's params.json")
	flag.StringVar(&n.transport, "transport", "tcp", "over which to dial: tcp, quic-v1")
	flag.Parse()
	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	var params struct {
		Script []*instruction `json:"script"`
	}
	if err := json.Unmarshal(text, &params); err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(name, "node%d", &n.id); err != nil {
		return fmt.Errorf("this host is called %s; it must be node<number>", name)
	}
	key, err := nodeKey(n.id)
	if err != nil {
		return err
	}
	n.host, err = libp2p.New(
		libp2p.Identity(key),
		libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ListenAddrStrings(
			fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", port),
			fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port)))
	if err != nil {
		return err
	}
	defer n.host.Close()
	n.log.Info("PeerID", "id", n.host.ID().String(), "node_id", n.id)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, it := range params.Script {
		if err := n.execute(ctx, it); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
