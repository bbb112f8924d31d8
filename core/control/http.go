package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sipr/core/clock"
)

// Bounds of the HTTP door. An answer has the time of a batch of commands that
// all wait.
const (
	httpHeaderTimeout = 5 * time.Second
	httpReadTimeout   = 30 * time.Second
	httpWriteTimeout  = 2 * time.Minute
	httpIdleTimeout   = 30 * time.Second
	httpHeaderBytes   = 16 << 10
	minToken          = 16
)

// HTTP is an HTTP server that speaks JSON-RPC 2.0 at POST /RPC.
type HTTP struct {
	door
	srv     *http.Server
	ln      *httpListener
	token   [sha256.Size]byte
	origins []string
}

// ListenHTTP opens a server at addr, "host:port" or ":port" for 127.0.0.1, and
// serves it until Close. Every request must carry the token, of at least 16
// characters, as "Authorization: Bearer TOKEN". Pages in browsers may call it
// only if their origin, such as "https://admin.example.com", is one of origins.
// There is no TLS: an address that is not of the loopback belongs behind a
// proxy. A nil log discards.
func ListenHTTP(addr, token string, origins []string, table *Table, log *slog.Logger, clk clock.Clock) (*HTTP, error) {
	ap, err := parseAddr(addr)
	if err != nil {
		return nil, fmt.Errorf("control http %s: %w", addr, err)
	}
	if len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("control http %s: the token must have at least %d characters, all of them visible ASCII", addr, minToken)
	}
	ln, err := listenTCP(ap)
	if err != nil {
		return nil, fmt.Errorf("control http %s: %w", addr, err)
	}
	h := &HTTP{token: sha256.Sum256([]byte(token)), origins: slices.Clone(origins)}
	h.init(table, log, clk)
	if !ap.Addr().IsLoopback() {
		h.log.Warn("control http can be reached from other machines, and is not encrypted", "address", ap.String())
	}
	h.ln = &httpListener{Listener: ln, log: h.log}
	h.srv = &http.Server{
		Handler:           http.HandlerFunc(h.serve),
		ConnContext:       withConn,
		ReadHeaderTimeout: httpHeaderTimeout,
		ReadTimeout:       httpReadTimeout,
		WriteTimeout:      httpWriteTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpHeaderBytes,
		ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
	}
	h.wg.Go(func() {
		if err := h.srv.Serve(h.ln); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("control http ended", "address", h.Addr().String(), "error", err)
		}
	})
	return h, nil
}

// Addr returns the address at which the server listens.
func (h *HTTP) Addr() net.Addr { return h.ln.Addr() }

// Close closes the server and the connections that wait for a request or have
// sent a part of one, and lets running commands finish. When ctx ends first,
// they are cancelled and ctx's error is returned.
func (h *HTTP) Close(ctx context.Context) error {
	h.ln.close(h.clock)
	err := h.srv.Shutdown(ctx)
	if werr := h.wait(ctx, func() { h.srv.Close() }); err == nil {
		err = werr
	}
	return err
}

// serve answers one request. What a browser sends from a page of another origin
// is refused before anything else is looked at.
func (h *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	origins := r.Header.Values("Origin")
	for _, o := range origins {
		if !slices.Contains(h.origins, o) {
			http.Error(w, "this origin is not allowed", http.StatusForbidden)
			return
		}
	}
	if r.URL.Path != "/RPC" {
		http.Error(w, "JSON-RPC is at /RPC", http.StatusNotFound)
		return
	}
	if len(origins) == 1 {
		head.Set("Access-Control-Allow-Origin", origins[0])
		head.Set("Vary", "Origin")
		if r.Method == http.MethodOptions { // a browser asks whether its page may
			head.Set("Access-Control-Allow-Methods", "POST")
			head.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	if r.Method != http.MethodPost {
		head.Set("Allow", "POST")
		http.Error(w, "only POST is allowed", http.StatusMethodNotAllowed)
		return
	}
	if !h.authorized(r.Header.Values("Authorization")) {
		head.Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the bearer token is missing or wrong", http.StatusUnauthorized)
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		http.Error(w, "the Content-Type must be application/json", http.StatusUnsupportedMediaType)
		return
	}
	h.post(w, r)
}

// authorized compares digests, so that the time tells neither the token nor
// its length.
func (h *HTTP) authorized(values []string) bool {
	if len(values) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	sum := sha256.Sum256([]byte(strings.TrimLeft(token, " ")))
	return subtle.ConstantTimeCompare(sum[:], h.token[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

func (h *HTTP) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLine))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		http.Error(w, fmt.Sprintf("the body is longer than %d bytes", maxLine), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "the body is incomplete", http.StatusBadRequest)
		return
	}
	c, ok := r.Context().Value(connKey{}).(*httpConn)
	if !ok || !h.ln.set(&c.tracked, connRunning, h.clock) {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	defer h.ln.set(&c.tracked, connWaiting, h.clock)
	var out []byte
	if len(bytes.TrimSpace(body)) == 0 {
		out = errorResponse(nil, &rpcError{Code: codeParse, Message: "parse error"})
	} else {
		out = h.answerJSON(body)
	}
	if out == nil { // notifications alone
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(out)+1))
	h.ln.set(&c.tracked, connWriting, h.clock)
	if err := h.write(&httpPeer{w, c}, append(out, '\n')); err != nil {
		h.log.Debug("control http cannot answer", "peer", r.RemoteAddr, "error", err)
	}
}
