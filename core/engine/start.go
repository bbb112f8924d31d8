package engine

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"sipr/core/transport"
)

// loadSecret reads the router's secret, or makes one that lasts.
func (e *Engine) loadSecret() error {
	if e.params.secret != "" {
		e.secret = sha256.Sum256([]byte(e.params.secret))
	} else if err := e.secretFromFile(e.path(e.params.secretFile)); err != nil {
		return err
	}
	e.tagKey = e.macKey("to tag")
	e.branchKey = e.macKey("stateless branch")
	return nil
}

func (e *Engine) secretFromFile(file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := rand.Read(e.secret[:]); err != nil {
			return err
		}
		// A crash between creating and writing must not leave half a secret.
		tmp := file + ".new"
		if err := os.WriteFile(tmp, []byte(hex.EncodeToString(e.secret[:])+"\n"), 0o600); err != nil {
			return fmt.Errorf("secret_file: %w", err)
		}
		return os.Rename(tmp, file)
	}
	if err != nil {
		return fmt.Errorf("secret_file: %w", err)
	}
	n, err := hex.Decode(e.secret[:], []byte(strings.TrimSpace(string(b)))[:min(64, len(strings.TrimSpace(string(b))))])
	if err != nil || n != len(e.secret) {
		return fmt.Errorf("secret_file %s does not hold 64 hexadecimal digits; remove it to get a new secret", file)
	}
	return nil
}

// macKey derives a 128-bit key for a purpose.
func (e *Engine) macKey(purpose string) (k macKey) {
	mac := hmac.New(sha256.New, e.secret[:])
	mac.Write([]byte(purpose))
	k.fill(mac.Sum(nil))
	return k
}

func (e *Engine) openTransport() error {
	listens, err := e.listens()
	if err != nil {
		return err
	}
	p := &e.params
	e.transport, err = transport.Open(transport.Config{
		Clock: e.clock, Log: e.log, Listen: listens, Readers: p.udpReaders, Segment: p.udpGSO,
		MaxConns: p.maxConns, MaxConnsPerIP: p.maxConnsPerIP,
		Idle: p.connIdle, MessageTime: p.connMessage, ConnectTime: p.connectTime,
		TLS: e.tls(), HandshakeTime: p.streams.handshakeTime, MaxHandshakes: p.streams.maxHandshakes,
		WSPath: p.streams.wsPath, WSOrigins: p.streams.wsOrigins, WSPing: p.streams.wsPing, Ping: p.streams.tcpPing, TCPAlias: p.streams.tcpAlias,
	})
	if err != nil {
		return err
	}
	e.network = e.transport
	return nil
}
