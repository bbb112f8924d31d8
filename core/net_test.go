package core

import "testing"

func TestNameOf(t *testing.T) {
	if a, b := NameOf("Example.COM."), NameOf([]byte("example.com")); a != b || a.String() != "example.com" {
		t.Errorf("%q, %q", a, b)
	}
	if n := NameOf(""); n != (HostName{}) || n.String() != "" || NameOf(".") != n {
		t.Errorf("%q", n)
	}
}

func TestProto(t *testing.T) {
	for p, want := range map[Proto]struct {
		secure, ws, framed bool
		port               uint16
	}{
		UDP: {false, false, false, 5060}, TCP: {false, false, true, 5060}, TLS: {true, false, true, 5061},
		WS: {false, true, false, 80}, WSS: {true, true, false, 443},
	} {
		if p.Secure() != want.secure || p.WebSocket() != want.ws || p.Framed() != want.framed || p.Port() != want.port {
			t.Errorf("%s: %v, %v, %v, %d", p, p.Secure(), p.WebSocket(), p.Framed(), p.Port())
		}
	}
}
