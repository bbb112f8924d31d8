package control

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
)

// The texts and codes are SER's; line 1 is that of the command.
func TestFIFOStructs(t *testing.T) {
	c := core.Command{Args: "<name> {member:value,…} [{…}]"}
	tests := []struct {
		lines []string
		want  []any
		err   string
	}{
		{[]string{"x"}, []any{"x"}, ""},
		{[]string{"a:b,c", "d:e"}, []any{"a:b,c", new(core.Struct).Add("d", "e")}, ""},
		{[]string{"x", `name:a,uri:sip:b@c:5060,name:,:d`},
			[]any{"x", new(core.Struct).Add("name", "a").Add("uri", "sip:b@c:5060").Add("name", "").Add("", "d")}, ""},
		{[]string{"x", `na\cme:1\o2\n3`}, []any{"x", new(core.Struct).Add("na:me", "1,2\n3")}, ""},
		{[]string{"x", ""}, nil, "400 Line 3 Empty - Structure Expected"},
		{[]string{"x", "a:b,c"}, nil, "400 Colon missing in struct on line 3"},
		{[]string{"x", "a:b,"}, nil, "400 Colon missing in struct on line 3"},
		{[]string{"x", "a:b", `c:d\x`}, nil, "400 Error while processing struct member 'c' on line 4"},
		{[]string{`\x`}, nil, "400 Invalid parameter value on line 2"},
	}
	for _, tt := range tests {
		got, err := bindFIFO(c, tt.lines)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if diff := cmp.Diff(tt.want, got); text != tt.err || diff != "" {
			t.Errorf("%q: %q, want %q\n%s", tt.lines, text, tt.err, diff)
		}
	}
}
