package engine_test

import (
	"testing"

	"sipr/core"
)

func TestConfigForScripts(t *testing.T) {
	r := newLive(t, `modparam("core", "server_id", 7)`)
	for _, tt := range []struct {
		module, name string
		want         core.Value
	}{
		{"core", "server_id", core.IntValue(7)},
		{"core", "fifo_reply_dir", core.TextValue("/tmp")},
		{"core", "http_token", core.Value{}}, // a secret
		{"core", "nothing", core.Value{}},
		{"nothing", "x", core.Value{}},
	} {
		if got := r.e.Config(tt.module, tt.name); got.Kind != tt.want.Kind || got.String() != tt.want.String() {
			t.Errorf("%s.%s = %v %q", tt.module, tt.name, got.Kind, got)
		}
	}
}
