package sipmsg

import "testing"

func TestFramerAgreesWithParse(t *testing.T) {
	for _, c := range []struct {
		name, stream, first string // first is "" where no length can be found
	}{
		{"line breaks before the start line", "\r\n\r\n" + compose(opts) + "more", "\r\n\r\n" + compose(opts)},
		{"a folded line that looks like a length", compose(opts, "Subject: x\r\n Content-Length: 3") + "abc", compose(opts, "Subject: x\r\n Content-Length: 3")},
		{"a folded line is no length", compose(opts, "-Content-Length", "Subject: x\r\n\tl: 3") + "abc", ""},
		{"a folded length", compose(opts, "Content-Length:\r\n  3", "", "abc") + "more", compose(opts, "Content-Length:\r\n  3", "", "abc")},
		{"a length folded between digits", compose(opts, "Content-Length: 1\r\n 2"), ""},
		{"line feeds only", "OPTIONS sip:a SIP/2.0\nl: 1\n\nxy", "OPTIONS sip:a SIP/2.0\nl: 1\n\nx"},
		{"the same length twice", compose(opts, "l: 0"), ""},
		{"a signed length", compose(opts, "Content-Length: +1", "", "a"), ""},
	} {
		for size := 1; size < len(c.stream); size++ {
			got, err := frames([]byte(c.stream), []byte{byte(min(size, 255) - 1)})
			if c.first == "" {
				if err != ErrLength || len(got) != 0 {
					t.Fatalf("%s, pieces of %d: %q %v", c.name, size, got, err)
				}
				continue
			}
			if err != nil || len(got) == 0 || string(got[0]) != c.first {
				t.Fatalf("%s, pieces of %d: %q %v", c.name, size, got, err)
			}
		}
	}
}

func TestFramerRefusesTooMuch(t *testing.T) {
	var f Framer
	if _, err := f.Frame(make([]byte, MaxSize)); err != ErrTooBig {
		t.Errorf("endless header section: %v", err)
	}
	f = Framer{}
	if _, err := f.Frame([]byte(compose(opts, "Content-Length: 65535"))); err != ErrTooBig {
		t.Errorf("long body: %v", err)
	}
}
