package auth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVectors(t *testing.T) {
	const (
		longNonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
		longCN    = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
		nonce     = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
	)
	tests := []struct {
		source, algorithm, user, realm, password, nonce, uri, method string
		qop                                                          quality
		cnonce, want                                                 string
	}{
		{"RFC 7616 3.9.1", "MD5", "Mufasa", "http-auth@example.org", "Circle of Life", longNonce, "/dir/index.html", "GET", qopAuth, longCN, "8ca523f5e9506fed4657c9700eebdbec"},
		{"RFC 7616 3.9.1", "SHA-256", "Mufasa", "http-auth@example.org", "Circle of Life", longNonce, "/dir/index.html", "GET", qopAuth, longCN, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
		{"RFC 2617 3.5", "MD5", "Mufasa", "testrealm@host.com", "Circle Of Life", nonce, "/dir/index.html", "GET", qopAuth, "0a4f113b", "6629fae49393a05397450978507c4ef1"},
		{"draft-smith-sipping-auth-examples-01 3.1", "MD5", "bob", "biloxi.com", "zanzibar", nonce, "sip:bob@biloxi.com", "INVITE", qopNone, "", "bf57e4e0d0bffc0fbaedce64d59add5e"},
		{"draft-smith-sipping-auth-examples-01 3.2", "MD5", "bob", "biloxi.com", "zanzibar", nonce, "sip:bob@biloxi.com", "INVITE", qopAuth, "0a4f113b", "89eb0059246c02b2f6ee02c7961d5ea3"},
		{"draft-smith-sipping-auth-examples-01 3.4", "MD5-sess", "bob", "biloxi.com", "zanzibar", nonce, "sip:bob@biloxi.com", "INVITE", qopAuth, "0a4f113b", "e4e4ea61d186d07a92c9e1f6919902e9"},
	}
	for _, tc := range tests {
		t.Run(tc.source+" "+tc.algorithm, func(t *testing.T) {
			a, sess, ok := parseAlgorithm([]byte(tc.algorithm))
			if !ok {
				t.Fatal("unknown algorithm")
			}
			ha1 := a.appendHA1(nil, []byte(tc.user), []byte(tc.realm), []byte(tc.password))
			in := answer{alg: a, sess: sess, qop: tc.qop, nonce: []byte(tc.nonce), nc: []byte("00000001"), cnonce: []byte(tc.cnonce),
				qopT: []byte("auth"), uri: []byte(tc.uri), method: []byte(tc.method)}
			got, _ := in.appendResponse(nil, nil, string(ha1))
			if string(got) != tc.want {
				t.Errorf("response %s, want %s", got, tc.want)
			}
		})
	}
	ha1 := algSHA256.appendHA1(nil, []byte("opensips"), []byte("opensips.org"), []byte("OpenSIPSrulz"))
	if want := "bd56ee2223d0deb965b2b7fbe7da478d94f0f7ba7ef2a69f11a7ea1ae8ab44fd"; string(ha1) != want {
		t.Errorf("HA1 %s, want %s", ha1, want)
	}
}

func TestAlgorithmList(t *testing.T) {
	got, err := parseAlgorithms("md5, SHA-512-256,SHA-256")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]algorithm{algSHA512256, algSHA256, algMD5}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "SHA-1", "MD5-sess", "MD5,MD5", "MD5,"} {
		if _, err := parseAlgorithms(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseDigest(t *testing.T) {
	const rest = `, realm="r", nonce="n", uri="sip:x", response="00"`
	good := []struct{ name, text, user, realm string }{
		{"plain", `Digest username="a"` + rest, "a", "r"},
		{"any letter case", `dIGEST USERNAME="a"` + rest, "a", "r"},
		{"escapes", `Digest username="a\"b\\c"` + rest, `a"b\c`, "r"},
		{"commas and equals signs in quotes", `Digest username="a,b=c"` + rest, "a,b=c", "r"},
		{"folded", "Digest username=\"a\",\r\n realm=\"r\"\r\n\t, nonce=\"n\" , uri = \"sip:x\",response=\"00\"", "a", "r"},
		{"empty elements", `Digest , username="a",` + rest + ",", "a", "r"},
		{"tokens instead of strings", `Digest username=a,realm=r,nonce=n,uri=sip:x;p=1,response=00`, "a", "r"},
		{"unknown parameters", `Digest x="y", username="a", z` + `=1` + rest, "a", "r"},
		{"empty realm", `Digest username="a", realm="", nonce="n", uri="sip:x", response="00"`, "a", ""},
		{"username*", `Digest username*=UTF-8''J%C3%A4s%C3%B8n` + rest, "Jäsøn", "r"},
		{"username* with a language", `Digest username*=utf-8'en'x` + rest, "x", "r"},
		{"userhash=false", `Digest userhash=false, username="a"` + rest, "a", "r"},
	}
	for _, tc := range good {
		var d digest
		if _, err := d.parse([]byte(tc.text), nil); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		} else if string(d.user) != tc.user || string(d.realm) != tc.realm || string(d.nonce) != "n" || !strings.HasPrefix(string(d.uri), "sip:x") {
			t.Errorf("%s: %q %q %q %q", tc.name, d.user, d.realm, d.nonce, d.uri)
		}
	}
	bad := map[string]string{
		"no user":           `Digest realm="r", nonce="n", uri="sip:x", response="00"`,
		"empty user":        `Digest username=""` + rest,
		"no response":       `Digest username="a", realm="r", nonce="n", uri="sip:x"`,
		"twice":             `Digest username="a", username="b"` + rest,
		"open quotes":       `Digest username="a"` + rest + `, cnonce="x`,
		"open escape":       `Digest username="a"` + rest + `, cnonce="x\`,
		"no equals sign":    `Digest username="a"` + rest + `, x`,
		"no value":          `Digest username="a"` + rest + `, x=`,
		"no comma":          `Digest username="a" x="y"` + rest,
		"text after quotes": `Digest username="a"b` + rest,
		"NUL":               "Digest username=\"a\x00\"" + rest,
		"line break":        "Digest username=\"a\r\nb\"" + rest,
		"not UTF-8":         "Digest username=\"a\xff\"" + rest,
		"both names":        `Digest username="a", username*=UTF-8''a` + rest,
		"other charset":     `Digest username*=ISO-8859-1''a` + rest,
		"control character": `Digest username*=UTF-8''a%00` + rest,
		"userhash":          `Digest userhash=true, username="a"` + rest,
		"too long":          `Digest username="a"` + rest + `, x="` + strings.Repeat("x", maxHeader) + `"`,
		"long user":         `Digest username="` + strings.Repeat("x", maxName+1) + `"` + rest,
		"name is no token":  `Digest user name="a"` + rest,
	}
	for name, text := range bad {
		var d digest
		if _, err := d.parse([]byte(text), nil); err != errDigest {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "Digest", "Basic abc", `Digestx username="a"` + rest, "Bearer x"} {
		var d digest
		if _, err := d.parse([]byte(text), nil); err != errScheme {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add(`Digest username="a\"b", realm="r", nonce="n", uri="sip:x", response="00", qop=auth, nc=00000001, cnonce="c"`)
	f.Add(`Digest username*=UTF-8'en'%41%4, realm=r,nonce=n,uri=u,response=0,`)
	f.Add("Digest a=\"\\")
	f.Fuzz(func(t *testing.T, s string) {
		var d digest
		if _, err := d.parse([]byte(s), nil); err != nil {
			return
		}
		if len(d.user) == 0 || len(d.nonce) == 0 || len(d.uri) == 0 || len(d.response) == 0 {
			t.Errorf("accepted without what it needs: %+v", d)
		}
		for _, v := range [][]byte{d.user, d.realm} {
			if strings.ContainsAny(string(v), "\x00\r\n") || len(v) > maxName {
				t.Errorf("accepted %q", v)
			}
		}
	})
}
