package sipmsg

import (
	"errors"
	"fmt"
	"testing"
)

func TestParseURI(t *testing.T) {
	long := "sip:a@h"
	for _, c := range []struct {
		in   string
		want string // scheme user password host port params headers, "" for refused
	}{
		{"sip:alice@atlanta.com", `1 "alice" - "atlanta.com" 0 "" ""`},
		{"SIP:alice:secret%20word@atlanta.com:5070;transport=tcp;lr?subject=x&to=a%40b", `1 "alice" "secret%20word" "atlanta.com" 5070 "transport=tcp;lr" "subject=x&to=a%40b"`},
		{"sip:alice:@atlanta.com", `1 "alice" "" "atlanta.com" 0 "" ""`},
		{"sips:1212@gateway.com", `2 "1212" - "gateway.com" 0 "" ""`},
		{"sip:+1-212-555-1212:1234@gateway.com;user=phone", `1 "+1-212-555-1212" "1234" "gateway.com" 0 "user=phone" ""`},
		{"sip:alice;day=tuesday@atlanta.com", `1 "alice;day=tuesday" - "atlanta.com" 0 "" ""`},
		{"sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com", `1 "" - "atlanta.com" 0 "method=REGISTER" "to=alice%40atlanta.com"`},
		{"sip:a@192.0.2.1?x=", `1 "a" - "192.0.2.1" 0 "" "x="`},
		{"sip:[2001:db8::1]:5061;maddr=[::1]", `1 "" - "[2001:db8::1]" 5061 "maddr=[::1]" ""`},
		{"sip:host_name.example", `1 "" - "host_name.example" 0 "" ""`},
		{"tel:+1-201-555-0123", `3 "+1-201-555-0123" - "" 0 "" ""`},
		{"tel:7042;phone-context=example.com", `3 "7042" - "" 0 "phone-context=example.com" ""`},
		{"tel:863-1234;phone-context=+1-914-555", `3 "863-1234" - "" 0 "phone-context=+1-914-555" ""`},
		{"tel:*21#;phone-context=+1", `3 "*21#" - "" 0 "phone-context=+1" ""`},
		{"urn:service:sos", `0 "service:sos" - "" 0 "" ""`},
		{"http://x.example/?a", `0 "//x.example/?a" - "" 0 "" ""`},
		{"", ""}, {"sip", ""}, {"sip:", ""}, {":x", ""}, {"1x:y", ""}, {"a@b:5060", ""}, {"a b:c", ""}, {"x:a b", ""}, {"x:a<b", ""},
		{"sip:@h", ""}, {"sip::p@h", ""}, {"sip:a@", ""}, {"sip:a@b@c", ""}, {"sip:a b@h", ""}, {"sip:a%4@h", ""}, {"sip:a%zz@h", ""},
		{"sip:a\"b@h", ""}, {"sip:a@h:", ""}, {"sip:a@h:0", ""}, {"sip:a@h:65536", ""}, {"sip:a@h:5060x", ""}, {"sip:a@h:-1", ""},
		{"sip:a@-h", ""}, {"sip:a@.h", ""}, {"sip:a@h/x", ""}, {"sip:a@h;x y", ""}, {"sip:a@h;x=\"y\"", ""}, {"sip:a@h;x=%1", ""},
		{"sip:a@h?x=<y>", ""}, {"sip:a@[::1", ""}, {"sip:a@[::1%eth0]", ""}, {"sip:a@[192.0.2.1]", ""}, {"sip:a@[1:2:3]", ""}, {"sip:a@[::1]x", ""},
		{"sip:2001:db8::10", ""}, {"sip:a@h\x00", ""}, {"sip:a@h\r\nX: y", ""},
		{"tel:", ""}, {"tel:-", ""}, {"tel:1+2", ""}, {"tel:12 34", ""}, {"tel:12;a b", ""},
	} {
		u, err := ParseURI([]byte(c.in))
		got := ""
		if err == nil {
			password := "-"
			if u.HasPassword {
				password = fmt.Sprintf("%q", u.Password)
			}
			got = fmt.Sprintf("%d %q %s %q %d %q %q", u.Scheme, u.User, password, u.Host, u.Port, u.Params, u.Headers)
		} else if !errors.Is(err, ErrURI) {
			t.Errorf("%q: %v does not wrap ErrURI", c.in, err)
		}
		if got != c.want {
			t.Errorf("%q: %s (%v), want %s", c.in, got, err, c.want)
		}
	}
	u, err := ParseURI([]byte(long))
	if err != nil || string(u.Raw) != long {
		t.Errorf("raw %q %v", u.Raw, err)
	}
}

func TestURIParam(t *testing.T) {
	u, err := ParseURI([]byte("sip:a@h;LR;transport=TCP;x=;lrx=1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		ok         bool
	}{{"lr", "", true}, {"Transport", "TCP", true}, {"x", "", true}, {"l", "", false}, {"lrx", "1", true}} {
		if v, ok := u.Param(c.name); string(v) != c.want || ok != c.ok {
			t.Errorf("%s: %q %v", c.name, v, ok)
		}
	}
}

func TestEqualURI(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		// RFC 3261 §19.1.4, equal.
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true},
		{"sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true},
		{"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		// RFC 3261 §19.1.4, not equal.
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false},
		// The rules that the examples leave out.
		{"sip:a@h", "sips:a@h", false},
		{"sip:h", "sip:a@h", false},
		{"sip:a@h", "sip:a:@h", false},
		{"sip:a:x@h", "sip:a:X@h", false},
		{"sip:a%3Bb@h", "sip:a;b@h", false},
		{"sip:a%2Db@h", "sip:a-b@h", true},
		{"sip:a%3bb@h", "sip:a%3Bb@h", true},
		{"sip:a@h;user=phone", "sip:a@h", false},
		{"sip:a@h;ttl=1", "sip:a@h", false},
		{"sip:a@h;maddr=192.0.2.1", "sip:a@h", false},
		{"sip:a@h;method=INVITE", "sip:a@h", false},
		{"sip:a@h;lr", "sip:a@h", true},
		{"sip:a@h;x=1;x=2", "sip:a@h;x=1;x=2", true},
		{"sip:a@h?x=1", "sip:a@h?x=2", false},
		{"sip:a@h?x=1", "sip:a@h?x=1&y=2", false},
		{"sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::0:1]", true},
		{"sip:a@[2001:db8::1]", "sip:a@[2001:db8::2]", false},
		{"sip:a@[::ffff:192.0.2.1]", "sip:a@192.0.2.1", false},
		// RFC 3966 §4.
		{"tel:+1-201-555-0123", "tel:+12015550123", true},
		{"tel:+1(201)555.0123", "tel:+12015550123", true},
		{"tel:+12015550123", "tel:12015550123", false},
		{"tel:+12015550123;ext=1", "tel:+12015550123", false},
		{"tel:70;a=b;phone-context=Example.com", "tel:7-0;phone-context=example.com;A=B", true},
		{"tel:*a", "tel:*A", true},
		{"tel:+12", "sip:+12@h;user=phone", false},
		{"urn:service:sos", "urn:service:sos", true},
		{"urn:service:sos", "urn:service:SOS", false},
	} {
		a, err1 := ParseURI([]byte(c.a))
		b, err2 := ParseURI([]byte(c.b))
		if err1 != nil || err2 != nil {
			t.Errorf("%s, %s: %v, %v", c.a, c.b, err1, err2)
			continue
		}
		if EqualURI(&a, &b) != c.want || EqualURI(&b, &a) != c.want {
			t.Errorf("%s, %s: want %v", c.a, c.b, c.want)
		}
	}
}

func TestNameAddr(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`sip:a@h`, `"" "sip:a@h" "" false`},
		{`sip:a@h;tag=1`, `"" "sip:a@h" "tag=1" false`},
		{`sip:a@h ; x="<;>"`, `"" "sip:a@h" " x=\"<;>\"" false`},
		{`<sip:a@h;lr>;q=0.5`, `"" "sip:a@h;lr" "q=0.5" true`},
		{`A. B. <sip:a@h>`, `"A. B." "sip:a@h" "" true`},
		{`"A \"<x>\", B" <sip:a@h?x=y> ;p`, `"\"A \\\"<x>\\\", B\"" "sip:a@h?x=y" "p" true`},
		{`"A`, ""}, {`"A" sip:a@h`, ""}, {`<sip:a@h`, ""}, {`<sip:a@h> x`, ""}, {`<>`, ""}, {``, ""}, {`A, B <sip:a@h>`, ""}, {`A (b) <sip:a@h>`, ""},
		{`< sip:a@h>`, ""}, {`sip:a@h?x=y`, ""}, {`<sip:a@h>;a=`, ""}, {`<sip:a@h>;a;;b`, ""}, {`<sip:a@h>;a="b`, ""}, {`<sip:a@h>;a="b"c`, ""},
	} {
		n, err := ParseNameAddr([]byte(c.in))
		got := ""
		if err == nil {
			got = fmt.Sprintf("%q %q %q %v", n.Display, n.URIText, n.Params, n.Bracketed)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
	}
}
