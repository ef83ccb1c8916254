package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// longestReply bounds a Redis reply, in bytes. A multiaddr is far shorter.
const longestReply = 1 << 16

// redisClient is the little of Redis that a rendezvous needs: one command, one reply (RESP2).
type redisClient struct {
	net.Conn
	in *bufio.Reader
}

// connectRedis tries until the context ends: Redis may start after us.
func connectRedis(ctx context.Context, address string) (*redisClient, error) {
	address = strings.TrimSuffix(strings.TrimPrefix(address, "redis://"), "/")
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			if deadline, ok := ctx.Deadline(); ok {
				err = conn.SetDeadline(deadline)
			}
			return &redisClient{conn, bufio.NewReaderSize(conn, longestReply)}, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("redis at %s: %w", address, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// command returns the reply as text; ok is false for nil.
func (r *redisClient) command(words ...string) (value string, ok bool, err error) {
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(r, request.String()); err != nil {
		return "", false, err
	}
	raw, err := r.in.ReadSlice('\n')
	if err != nil {
		return "", false, err
	}
	line := strings.TrimSpace(string(raw))
	bad := fmt.Errorf("redis answered %q", line)
	switch {
	case line == "$-1":
		return "", false, nil
	case strings.HasPrefix(line, "+"), strings.HasPrefix(line, ":"):
		return line[1:], true, nil
	case !strings.HasPrefix(line, "$"):
		return "", false, bad
	}
	length, err := strconv.Atoi(line[1:])
	if err != nil || length < 0 || length > longestReply {
		return "", false, bad
	}
	text := make([]byte, length+2)
	if _, err := io.ReadFull(r.in, text); err != nil {
		return "", false, err
	}
	return string(text[:length]), true, nil
}

// fetch waits for the listener's address, which is a list in one suite and a string in another.
func fetch(ctx context.Context, c config) (string, error) {
	r, err := connectRedis(ctx, c.redis)
	if err != nil {
		return "", err
	}
	defer r.Close()
	for {
		kind, _, err := r.command("TYPE", c.key)
		if err != nil {
			return "", err
		}
		value, ok := "", false
		switch kind {
		case "list":
			value, ok, err = r.command("LPOP", c.key)
		case "string":
			value, ok, err = r.command("GET", c.key)
		}
		if err != nil || ok {
			return value, err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no listener address under %s in time", c.key)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func publish(ctx context.Context, c config, address string) error {
	r, err := connectRedis(ctx, c.redis)
	if err != nil {
		return err
	}
	defer r.Close()
	if c.unified {
		if _, _, err := r.command("DEL", c.key); err != nil {
			return err
		}
	}
	_, _, err = r.command("RPUSH", c.key, address)
	return err
}
