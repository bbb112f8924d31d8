package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sipr/core/database"
)

const (
	managementHost  = "127.0.51.1"
	managementToken = "0123456789abcdef0123456789abcdef"
)

// managed is a router with every door open, and the virtual domains of SER's
// documentation.
type managed struct {
	*router
	tcp, http string
	db        *database.DB
}

func startManaged(t *testing.T, more string) *managed {
	t.Helper()
	m := &managed{tcp: freePort(t, "tcp", managementHost), http: freePort(t, "tcp", managementHost)}
	m.tcp, m.http = net.JoinHostPort(managementHost, m.tcp), net.JoinHostPort(managementHost, m.http)
	m.router = install(t, setup{})
	m.write("sipr.lua", strings.Replace(read(t, m.path("sipr.lua")), `route "route.lua"`, fmt.Sprintf(`
modparam("core", "fifo", "sipr.fifo")
modparam("core", "fifo_reply_dir", %q)
modparam("core", "ctl_tcp", %q)
modparam("core", "http", %q)
modparam("core", "http_token", %q)
%s
route "route.lua"`, m.path(""), m.tcp, m.http, managementToken, more), 1))
	m.start()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db, err := database.OpenURL(ctx, "sqlite:"+m.path("sipr.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	m.db = db
	for _, row := range []struct {
		did, domain string
		flags       int
	}{{"iptel", "iptel.org", 33}, {"iptel", "sip.iptel.org", 33}, {"iptel", "proxy.iptel.org", 37}, {"iptel", "213.192.59.75", 33}, {"acme", "acme.com", 1}} {
		m.exec("INSERT INTO domain (did, domain, flags) VALUES (?, ?, ?)", row.did, row.domain, row.flags)
	}
	for _, row := range []struct {
		name  string
		kind  int
		value string
	}{{"fr_timer", 0, "5"}, {"realm", 2, "iptel.org"}, {"gw", 2, "a,b:c"}, {"gw", 2, "two"}, {"disabled", 2, "x"}} {
		m.exec("INSERT INTO domain_attrs (did, name, type, value, flags) VALUES ('iptel', ?, ?, ?, 33)", row.name, row.kind, row.value)
	}
	return m
}

func (m *managed) exec(query string, args ...any) {
	m.t.Helper()
	if _, err := m.db.ExecContext(m.t.Context(), query, args...); err != nil {
		m.t.Fatal(err)
	}
}

// post calls a command over HTTP.
func (m *managed) post(method string) string {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), "POST", "http://"+m.http+"/RPC",
		strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+method+`"}`))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+managementToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(body)
}

// line calls a command with a line of JSON-RPC.
func (m *managed) line(network, addr, method string) string {
	m.t.Helper()
	c := m.dial(network, addr)
	fmt.Fprintf(c, `{"jsonrpc":"2.0","id":1,"method":"%s"}`+"\n", method)
	text, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

func (m *managed) dial(network, addr string) net.Conn {
	m.t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// packet calls a command with a BINRPC packet and returns the records of the
// answer after a letter: R for a reply, F for a fault.
func (m *managed) packet(network, addr, method string) string {
	m.t.Helper()
	c := m.dial(network, addr)
	n := len(method) + 1
	q := append([]byte{0xA1, 0x03, byte(n + 2), 1, 2, 3, 4, 0x91, byte(n)}, method...)
	if _, err := c.Write(append(q, 0)); err != nil {
		m.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		m.t.Fatal(err)
	}
	digits := make([]byte, head[1]>>2&3+1)
	cookie := make([]byte, 4)
	io.ReadFull(r, digits)
	io.ReadFull(r, cookie)
	length := 0
	for _, b := range digits {
		length = length<<8 | int(b)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		m.t.Fatal(err)
	}
	if head[0] != 0xA1 || head[1]&3 != 3 || !bytes.Equal(cookie, []byte{1, 2, 3, 4}) {
		m.t.Errorf("header % x, cookie % x", head, cookie)
	}
	return string("?R?F"[head[1]>>4&3]) + string(body)
}

// answers compares the answers of all doors to one command: fifo and packet are
// the whole texts, member is that of JSON.
func (m *managed) answers(t *testing.T, method, fifoText, packet, member string) {
	t.Helper()
	compare := func(door, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s at %s:\ngot  %q\nwant %q", method, door, got, want)
		}
	}
	socket := m.path("sipr.sock")
	doc := `{"jsonrpc":"2.0",` + member + `,"id":1}` + "\n"
	compare("the FIFO", fifo(t, m.router, m.path(""), method), fifoText)
	compare("the socket", m.packet("unix", socket, method), packet)
	compare("the socket", m.line("unix", socket, method), doc)
	compare("TCP", m.packet("tcp", m.tcp, method), packet)
	compare("TCP", m.line("tcp", m.tcp, method), doc)
	compare("HTTP", m.post(method), doc)
}

// binStruct returns the records of a struct, from pairs of a name and a value.
func binStruct(t *testing.T, members ...any) string {
	t.Helper()
	text := func(kind byte, s string) string {
		if n := byte(len(s) + 1); n < 8 {
			return string([]byte{n<<4 | kind}) + s + "\x00"
		}
		return string([]byte{0x90 | kind, byte(len(s) + 1)}) + s + "\x00"
	}
	out := "\x03"
	for i := 0; i < len(members); i += 2 {
		out += text(5, members[i].(string))
		switch v := members[i+1].(type) {
		case string:
			out += text(1, v)
		case int:
			out += string([]byte{0x10, byte(v)})
		}
	}
	return out + "\x83"
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fault returns the records of a fault.
func fault(t *testing.T, code int, reason string) string {
	t.Helper()
	number := "10" + fmt.Sprintf("%02x", code)
	if code > 255 {
		number = "20" + fmt.Sprintf("%04x", code)
	}
	return "F" + unhex(t, number+"91"+fmt.Sprintf("%02x", len(reason)+1)) + reason + "\x00"
}

func TestS2_070_S2_071_DomainCommandsAtEveryDoor(t *testing.T) {
	m := startManaged(t, "")
	m.answers(t, "domain.reload", "200 OK\n", "R", `"result":{}`)
	m.answers(t, "domain.dump", "200 OK\n"+
		"attr:did=acme,flags:1,domain:acme.com,did:acme\n"+
		`attr:did=iptel,attr:fr_timer=5,attr:realm=iptel.org,attr:gw=a\cb\oc,attr:gw=two,attr:disabled=x,`+
		"flags:33,domain:213.192.59.75,flags:37,domain:proxy.iptel.org,flags:33,domain:sip.iptel.org,flags:33,domain:iptel.org,did:iptel\n",
		"R"+binStruct(t, "did", "acme", "domain", "acme.com", "flags", 1, "attr", "did=acme")+
			binStruct(t, "did", "iptel", "domain", "iptel.org", "flags", 33, "domain", "sip.iptel.org", "flags", 33,
				"domain", "proxy.iptel.org", "flags", 37, "domain", "213.192.59.75", "flags", 33,
				"attr", "disabled=x", "attr", "gw=two", "attr", "gw=a,b:c", "attr", "realm=iptel.org", "attr", "fr_timer=5", "attr", "did=iptel"),
		`"result":{"domains":[{"did":"acme","names":[{"domain":"acme.com","flags":1}],"attrs":[]},`+
			`{"did":"iptel","names":[{"domain":"iptel.org","flags":33},{"domain":"sip.iptel.org","flags":33},`+
			`{"domain":"proxy.iptel.org","flags":37},{"domain":"213.192.59.75","flags":33}],`+
			`"attrs":[{"name":"disabled","type":2,"value":"x"},{"name":"gw","type":2,"value":"two"},{"name":"gw","type":2,"value":"a,b:c"},`+
			`{"name":"realm","type":2,"value":"iptel.org"},{"name":"fr_timer","type":0,"value":5}]}]}`)

	// A reload that fails says so, and the old domains stay.
	before := m.line("unix", m.path("sipr.sock"), "domain.dump")
	m.exec("ALTER TABLE domain RENAME TO gone")
	m.answers(t, "domain.reload", "400 Domain Table Reload Failed\n", fault(t, 400, "Domain Table Reload Failed"),
		`"error":{"code":400,"message":"Domain Table Reload Failed"}`)
	if after := m.line("unix", m.path("sipr.sock"), "domain.dump"); after != before {
		t.Errorf("after a failed reload there is\n%s", after)
	}
}

func TestS2_070_S2_071_WithoutCache(t *testing.T) {
	m := startManaged(t, `modparam("domain", "db_mode", 0)`)
	const why = "Server Domain Cache Disabled"
	m.answers(t, "domain.reload", "200 "+why+"\n", fault(t, 200, why), `"error":{"code":200,"message":"`+why+`"}`)
	m.answers(t, "domain.dump", "400 "+why+"\n", fault(t, 400, why), `"error":{"code":400,"message":"`+why+`"}`)
}

// TestManagementTranscripts runs what docs/management.md shows.
func TestManagementTranscripts(t *testing.T) {
	m := startManaged(t, "")
	m.sipr("ctl", "domain.reload")
	text := strings.NewReplacer("/var/lib/sipr/", m.path("")+"/", "/run/sipr/", m.path("")+"/",
		"127.0.0.1:2046", m.tcp, "127.0.0.1:8046", m.http).Replace(read(t, filepath.Join("..", "docs", "management.md")))
	var prelude string
	ran := 0
	for _, block := range regexp.MustCompile("(?ms)^```(sh|console)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		if block[1] == "sh" {
			prelude += block[2]
			continue
		}
		for _, part := range strings.Split("\n"+block[2], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			ran++
			t.Run(command, func(t *testing.T) { m.transcript(t, prelude, command, strings.TrimSuffix(want, "\n")) })
		}
	}
	if ran < 15 {
		t.Errorf("only %d commands were found", ran)
	}
}

// transcript runs a command in a shell. In want, … stands for anything.
func (m *managed) transcript(t *testing.T, prelude, command, want string) {
	search := filepath.Dir(binary) + ":" + os.Getenv("PATH") + ":/usr/sbin"
	for _, tool := range []string{"kamcmd", "socat", "curl"} {
		_, err := exec.LookPath(tool)
		if _, err2 := os.Stat("/usr/sbin/" + tool); err != nil && err2 != nil && regexp.MustCompile(`\b`+tool+` `).MatchString(command) {
			t.Skipf("%s is not installed", tool)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", prelude+command)
	cmd.Dir = m.dir
	cmd.Env = append(environment(), "PATH="+search, "SIPR_TOKEN="+managementToken, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		t.Fatalf("no end within %s: %s", patience, out)
	}
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$"
	if got := strings.TrimSuffix(string(out), "\n"); !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestManagementHangingPeers has peers at every door that send half a request,
// or ask for much and read nothing: everybody else is served, SIP included, and
// the router stops in time.
func TestManagementHangingPeers(t *testing.T) {
	m := startManaged(t, "")
	m.answers(t, "domain.reload", "200 OK\n", "R", `"result":{}`)
	for _, door := range [][2]string{{"unix", m.path("sipr.sock")}, {"tcp", m.tcp}} {
		for _, half := range []string{"", `{"jsonrpc":"2.0","id":1,"meth`, "\xa1", "\xa1\x03\x05\x01\x02\x03\x04\x91"} {
			io.WriteString(m.dial(door[0], door[1]), half)
		}
	}
	io.WriteString(m.dial("tcp", m.http), "POST /RPC HTTP/1.1\r\nContent-Length: 100\r\n")
	m.dial("tcp", m.http)
	// Answers that nobody reads: the peer asks until the router's side is full.
	for _, door := range [][2]string{{"unix", m.path("sipr.sock")}, {"tcp", m.tcp}} {
		c := m.dial(door[0], door[1])
		c.SetDeadline(time.Now().Add(500 * time.Millisecond))
		big := []byte(`{"jsonrpc":"2.0","id":1,"method":"core.echo","params":["` + strings.Repeat("x", 500_000) + `"]}` + "\n")
		for range 100 {
			if _, err := c.Write(big); err != nil {
				break
			}
		}
	}
	m.answers(t, "domain.reload", "200 OK\n", "R", `"result":{}`)
	ping(t, m.router)
	began := time.Now()
	m.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the router took %s to stop", took)
	}
}
