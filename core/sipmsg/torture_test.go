package sipmsg

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// compose builds a message from a start line and seven usual header fields. A
// line whose name is one of theirs takes its place, "-Name" removes it, and any
// other line is added. The text after an empty line is the body.
func compose(start string, lines ...string) string {
	method, _, _ := strings.Cut(start, " ")
	if strings.HasPrefix(start, "SIP/") {
		method = "OPTIONS"
	}
	all := []string{
		"Via: SIP/2.0/UDP edge.example.net;branch=z9hG4bKown1",
		"Max-Forwards: 20",
		"From: <sip:ann@example.net>;tag=f1",
		"To: <sip:ben@example.org>",
		"Call-ID: own-1@edge.example.net",
		"CSeq: 7 " + method,
		"Content-Length: 0",
	}
	replaced := map[string]bool{}
	body := ""
	for i, line := range lines {
		if line == "" {
			body = strings.Join(lines[i+1:], "\r\n")
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "-"), ":")
		at := -1
		for j, have := range all {
			if n, _, _ := strings.Cut(have, ":"); n == name && !replaced[name] {
				at = j
			}
		}
		switch {
		case at >= 0 && line[0] == '-':
			all = append(all[:at], all[at+1:]...)
		case at >= 0:
			all[at], replaced[name] = line, true
		default:
			all, replaced[name] = append(all, line), true
		}
	}
	return start + "\r\n" + strings.Join(all, "\r\n") + "\r\n\r\n" + body
}

// facts returns what the package reads out of a message, by name.
func facts(m *Message) map[string]string {
	f := map[string]string{
		"method":   string(m.MethodText()),
		"known":    m.Method.String(),
		"status":   fmt.Sprint(m.Status),
		"reason":   string(m.Reason()),
		"uri":      string(m.RURIText()),
		"from-tag": string(m.FromTag()),
		"to-tag":   string(m.ToTag()),
		"call-id":  string(m.CallID()),
		"max-fwd":  fmt.Sprint(m.MaxForwards()),
		"body":     string(m.Body()),
		"headers":  fmt.Sprint(m.Len()),
	}
	if m.IsRequest() {
		u, _ := m.RURI()
		f["user"], f["password"], f["host"] = string(u.User), string(u.Password), string(u.Host)
		f["port"], f["scheme"] = fmt.Sprint(u.Port), fmt.Sprint(u.Scheme)
		f["uri-params"], f["uri-headers"] = string(u.Params), string(u.Headers)
	}
	n, method, _ := m.CSeq()
	f["cseq"] = fmt.Sprintf("%d %s", n, method)
	from, _ := m.From()
	to, _ := m.To()
	f["from"], f["from-display"] = string(from.URIText), string(from.Display)
	f["to"], f["to-display"] = string(to.URIText), string(to.Display)
	var vias []string
	for it := m.Values(HVia); it.Next(); {
		v, err := ParseVia(it.Value)
		if err != nil {
			vias = append(vias, err.Error())
			continue
		}
		vias = append(vias, fmt.Sprintf("%s/%s:%d/%s", v.Transport, v.Host, v.Port, v.Branch))
	}
	f["vias"] = strings.Join(vias, " ")
	if v, err := m.Via(); err == nil {
		addr, ok := v.ViaAddr()
		f["reply-to"] = fmt.Sprint(addr, ok)
	}
	return f
}

// verdict is what Parse and Check say: "" for accepted, the framing error, or
// code and reason.
func verdict(m *Message, raw []byte) string {
	if err := m.Parse(raw); err != nil {
		return err.Error()
	}
	if p := m.Check(); p != nil {
		return fmt.Sprint(p.Code, " ", p.Reason)
	}
	return ""
}

type tortureCase struct {
	name, text string
	verdict    string   // "" for accepted
	facts      []string // "name=value"
}

func p(problem *Problem) string { return fmt.Sprint(problem.Code, " ", problem.Reason) }

const opts = "OPTIONS sip:ben@example.org SIP/2.0"

// validCases must be accepted (RFC 4475 §3.1.1 and what of §3.2 to §3.4 is not
// the parser's to refuse).
var validCases = []tortureCase{
	{"white space and folding everywhere", compose("INVITE sip:ben@example.org;strange SIP/2.0",
		"-Via", "-To", "-From", "-Max-Forwards", "-CSeq", "-Content-Length",
		"tO  :\r\n\t sip:ben@example.org ;\t tag   =  77t",
		"FROM\t: \"A \\\\\\\" nn\"   <sip:ann@example.net>\r\n ;\r\n  tag = 5x",
		"mAx-FORWARDS: 00021", "cSEQ: 0012\r\n \t INVITE", "CONTENT-length \t :  3",
		"Subject:", "s2 :", "Odd: ;;,,;,",
		"VIA : SIP /  2.0\r\n / TCP \r\n  192.0.2.7;branch=oldstyle",
		"v: SIP/2.0/ UDP second.example.net : 5070 ; branch =\r\n z9hG4bKs , SIP / 2.0/TLS third.example.net ;branch= z9hG4bKt",
		"Route:\r\n <sip:p.example.net;lr;a=b;c>",
		"", "abc"), "",
		[]string{"from-tag=5x", "to-tag=77t", "to=sip:ben@example.org", "from-display=\"A \\\\\\\" nn\"", "max-fwd=21", "cseq=12 INVITE", "body=abc",
			"vias=TCP/192.0.2.7:0/oldstyle UDP/second.example.net:5070/z9hG4bKs TLS/third.example.net:0/z9hG4bKt", "reply-to=192.0.2.7:5060 true"}},
	{"wide range of characters", compose("*Odd.%method!_+`'~9 sip:u_.!~*'()&=+$,;?/:p&=+$,-w@example.org SIP/2.0",
		"To: \"quoted \\\a \\\x00 \\\x7f\" <sip:ben_~;?/@example.org>",
		"From: odd`' t0ken.~ <sip:ann@example.net>;p''!~=\"\xd0\xb9\xd1\x86\";tag=_~t'+`*%!-.",
		"Call-ID: w%Z-!.*_+'@w`~)(><:\\/\"][?}{", "x-!.%*_+`'~:\xef\xbb\xbf\xe5\xa4\xa7",
		"Via: SIP/2.0/TCP edge.example.net;branch=z9hG4bK.!%*_+`'~", "Max-Forwards: 255"), "",
		[]string{"method=*Odd.%method!_+`'~9", "known=", "user=u_.!~*'()&=+$,;?/", "password=p&=+$,-w", "host=example.org",
			"from-tag=_~t'+`*%!-.", "call-id=w%Z-!.*_+'@w`~)(><:\\/\"][?}{", "max-fwd=255"}},
	{"escapes in URIs", compose("INVITE sip:tel%3Aben%40x@example.org SIP/2.0", "To: sip:b%65n@example.org",
		"From: <sip:two%20words@example.net>;tag=9", "m:\r\n <sip:%61nn@h.example.net;%6C%72;x%79=%25%31>"), "",
		[]string{"user=tel%3Aben%40x", "to=sip:b%65n@example.org", "from=sip:two%20words@example.net"}},
	{"escaped NUL", compose("REGISTER sip:example.org SIP/2.0", "To: sip:a%00b@example.org", "From: sip:a%00b@example.org;tag=1",
		"Contact: <sip:%00@h.example.net>"), "", []string{"to=sip:a%00b@example.org"}},
	{"percent is no escape in methods, names and tokens", compose("RE%47ISTER sip:example.org SIP/2.0", "C%6Fntact: <sip:x@example.org>",
		"To: \"%Z%45\" <sip:ben@example.org>", "Via: SIP/2.0/TCP h.example.net;branch=z9hG4bK2%fzs"), "",
		[]string{"method=RE%47ISTER", "known=", "to-display=\"%Z%45\"", "vias=TCP/h.example.net:0/z9hG4bK2%fzs"}},
	{"no space before the angle bracket", compose(opts, "From: ann<sip:ann@example.net>;tag=3"), "",
		[]string{"from-display=ann", "from=sip:ann@example.net", "from-tag=3"}},
	{"long values", compose("INVITE sip:ben@example.org SIP/2.0", "To: \""+strings.Repeat("long ", 40)+"\"<sip:ben@example.org;"+strings.Repeat("n", 300)+"="+strings.Repeat("v", 300)+">",
		"Call-ID: "+strings.Repeat("really", 60), strings.Repeat("Long", 40)+"-Name: "+strings.Repeat("value;", 60),
		strings.Repeat("v  : SIP/2.0/TCP hop.example.net\r\n", 40)+"V: SIP/2.0/TCP last.example.net;branch="+strings.Repeat("b", 250)), "",
		[]string{"call-id=" + strings.Repeat("really", 60), "headers=49"}},
	{"a second request after the first", compose(opts) + "\r\n" + compose("INVITE sip:eve@example.org SIP/2.0"), "",
		[]string{"method=OPTIONS", "body=", "headers=7"}},
	{"semicolon in the user part", compose("OPTIONS sip:ben;x=y%40z.example@example.org SIP/2.0",
		"Accept: application/sdp,\r\n      message/sip,\r\n\tmessage/sipfrag"), "", []string{"user=ben;x=y%40z.example", "host=example.org", "uri-params="}},
	{"transports of all kinds", compose(opts, "Via: SIP/2.0/UDP a.example.net;branch=z9hG4bK1", "v: SIP/2.0/SCTP b.example.net;branch=z9hG4bK2",
		"v: SIP/2.0/TLS c.example.net", "v: SIP/2.0/NEWONE d.example.net;branch=z9hG4bK4"), "",
		[]string{"vias=UDP/a.example.net:0/z9hG4bK1 SCTP/b.example.net:0/z9hG4bK2 TLS/c.example.net:0/ NEWONE/d.example.net:0/z9hG4bK4"}},
	{"binary multipart body", compose("MESSAGE sip:ben@example.org SIP/2.0", "Content-Type: multipart/mixed;boundary=zz", "Content-Length: 30",
		"", "--zz\r\n\r\n\x00\x01\n\r\xff\r\r\n\n\r\n--zz--\r\n1234567"), "", []string{"body=--zz\r\n\r\n\x00\x01\n\r\xff\r\r\n\n\r\n--zz--\r\n123"}},
	{"odd reason phrase", compose("SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe", "-Max-Forwards"), "", []string{"status=200", "reason== 2**3 * 5**2 \xd0\xbd\xd0\xbe", "known="}},
	{"empty reason phrase", compose("SIP/2.0 100 ", "-Max-Forwards"), "", []string{"status=100", "reason="}},
	{"version in lower case", compose("OPTIONS sip:ben@example.org sip/2.0"), "", []string{"uri=sip:ben@example.org"}},
	{"line breaks before the start line", "\r\n\r\n" + compose(opts), "", []string{"method=OPTIONS"}},
	{"header fields in the Request-URI", compose("INVITE sip:ben@example.org?Route=%3Csip:example.net%3E SIP/2.0"), "",
		[]string{"host=example.org", "uri-headers=Route=%3Csip:example.net%3E"}},
	{"time zone other than GMT", compose(opts, "Date: Mon, 03 Feb 2020 09:00:00 CET"), "", nil},
	{"bare Contact with a question mark", compose("REGISTER sip:example.org SIP/2.0", "Contact: sip:ben@example.org?Route=%3Csip:example.net%3E"), "", nil},
	{"branch is the cookie alone", compose(opts, "Via: SIP/2.0/UDP edge.example.net;branch=z9hG4bK"), "", []string{"vias=UDP/edge.example.net:0/z9hG4bK"}},
	{"no branch, no From tag, no length", compose("INVITE sip:ben@example.org SIP/2.0", "Via: SIP/2.0/UDP old.example.net", "From: <sip:+1555@old.example.net;user=phone>",
		"-Max-Forwards", "-Content-Length", "Record-Route: <sip:ben@example.org;maddr=x.example.org>", "", "v=0"), "",
		[]string{"from-tag=", "max-fwd=-1", "body=v=0", "vias=UDP/old.example.net:0/"}},
	{"unknown scheme", compose("OPTIONS whoKnows:opaque SIP/2.0"), "", []string{"scheme=0", "user=opaque"}},
	{"scheme with a dot", compose("OPTIONS soap.x://192.0.2.3:3002 SIP/2.0"), "", []string{"scheme=0"}},
	{"schemes in From, To and Contact", compose("REGISTER sip:example.org SIP/2.0", "To: isbn:12345", "From: <http://www.example.com>;tag=2", "Contact: <name:Ann>"), "",
		[]string{"to=isbn:12345", "from=http://www.example.com", "from-tag=2"}},
	{"options nobody knows", compose(opts, "Require: foo, bar", "Proxy-Require: baz"), "", nil},
	{"media type nobody knows", compose("INVITE sip:ben@example.org SIP/2.0", "Content-Type: application/strange", "Content-Length: 3", "", "<a>"), "", []string{"body=<a>"}},
	{"authorization scheme nobody knows", compose("REGISTER sip:example.org SIP/2.0", "Authorization: Nobody x=y", "-Content-Length", "l:0"), "", nil},
	{"broadcast address in Via", compose("SIP/2.0 200 OK", "v: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKb"), "",
		[]string{"vias=UDP/edge.example.net:0/z9hG4bKown1 UDP/255.255.255.255:0/z9hG4bKb"}},
	{"no hops left", compose(opts, "Max-Forwards: 0"), "", []string{"max-fwd=0"}},
	{"Contact parameter of nobody's", compose("REGISTER sip:example.org SIP/2.0", "Contact: sip:+1555@gw.example.net;strange"), "", nil},
	{"Contact URI with escaped header fields", compose("REGISTER sip:example.org SIP/2.0", "M: <sip:ben@example.org?Route=%3Csip:example.net%3E>"), "", nil},
	{"media type that the sender does not want back", compose("INVITE sip:ben@example.org SIP/2.0", "Accept: text/strange"), "", nil},
	{"IPv6 reference", compose("OPTIONS sip:[2001:db8::7] SIP/2.0", "Via: SIP/2.0/UDP [2001:db8::8:1];branch=z9hG4bK6"), "",
		[]string{"host=[2001:db8::7]", "port=0", "reply-to=[2001:db8::8:1]:5060 true"}},
	{"IPv6 reference and port", compose("OPTIONS sip:[2001:db8::7]:5080 SIP/2.0"), "", []string{"host=[2001:db8::7]", "port=5080"}},
	{"port inside the brackets is part of the address", compose("OPTIONS sip:[2001:db8::7:5080] SIP/2.0"), "", []string{"host=[2001:db8::7:5080]", "port=0"}},
	{"received with brackets", compose(opts, "Via: SIP/2.0/UDP [2001:db8::1];received=[2001:db8::2:9];branch=z9hG4bK6"), "", []string{"reply-to=[2001:db8::2:9]:5060 true"}},
	{"received without brackets", compose(opts, "Via: SIP/2.0/UDP [2001:db8::1];received=2001:db8::2:9;branch=z9hG4bK6"), "", []string{"reply-to=[2001:db8::2:9]:5060 true"}},
	{"IPv4 in IPv6", compose("OPTIONS sip:ben@[2001:db8::192.0.2.4] SIP/2.0", "Via: SIP/2.0/UDP [::ffff:192.0.2.9]:19000;branch=z9hG4bK6"), "",
		[]string{"host=[2001:db8::192.0.2.4]", "vias=UDP/[::ffff:192.0.2.9]:19000/z9hG4bK6"}},
	{"a colon too many before IPv4 in IPv6", compose("OPTIONS sip:ben@[2001:db8:::192.0.2.4] SIP/2.0", "Via: SIP/2.0/UDP [2001:db8:::192.0.2.9];branch=z9hG4bK6"), "",
		[]string{"host=[2001:db8:::192.0.2.4]", "reply-to=[2001:db8::c000:209]:5060 true"}},
	{"pound sign in the user part", compose("INVITE sip:*21#@example.org SIP/2.0"), "", []string{"user=*21#"}},
	{"zeros before numbers", compose(opts, "Max-Forwards: "+strings.Repeat("0", 40)+"20", "CSeq: "+strings.Repeat("0", 40)+"7 OPTIONS"), "", []string{"max-fwd=20", "cseq=7 OPTIONS"}},
	{"response with header fields twice that nothing depends on", compose("SIP/2.0 200 OK", "Subject: a", "s: b", "Date: x", "Date: y"), "", []string{"status=200"}},
	{"address families mixed", compose("BYE sip:ben@example.org SIP/2.0", "Via: SIP/2.0/UDP [2001:db8::1]:6060;branch=z9hG4bK1",
		"v: SIP/2.0/UDP 192.0.2.1, SIP/2.0/TCP [2001:db8::2];received=192.0.2.2"), "",
		[]string{"vias=UDP/[2001:db8::1]:6060/z9hG4bK1 UDP/192.0.2.1:0/ TCP/[2001:db8::2]:0/"}},
}

// invalidCases must be refused (RFC 4475 §3.1.2, §3.3; RFC 5118 §4.2, §4.10).
var invalidCases = []tortureCase{
	{name: "stray separators in Via", text: compose(opts, "Via: SIP/2.0/UDP 192.0.2.7;;,;,,"), verdict: p(problemVia)},
	{name: "empty parameter in Via", text: compose(opts, "Via: SIP/2.0/UDP 192.0.2.7;;branch=z9hG4bK1"), verdict: p(problemVia)},
	{name: "length beyond the datagram", text: compose(opts, "Content-Length: 9999", "", "short"), verdict: p(problemTruncated)},
	{name: "negative length", text: compose(opts, "Content-Length: -9", "", "short"), verdict: p(problemContentLength)},
	{name: "two lengths", text: compose(opts, "Content-Length: 5", "l: 3", "", "short"), verdict: p(problemTwice), facts: []string{"body=short"}},
	{name: "CSeq beyond 32 bits", text: compose(opts, "CSeq: 36893488147419103232 OPTIONS"), verdict: p(problemCSeq)},
	{name: "CSeq of 2^32", text: compose(opts, "CSeq: 4294967296 OPTIONS"), verdict: p(problemCSeq)},
	{name: "CSeq beyond 32 bits in a response", text: compose("SIP/2.0 503 No", "CSeq: 9292394834772304023312 OPTIONS"), verdict: p(problemCSeq)},
	{name: "Max-Forwards above 255", text: compose(opts, "Max-Forwards: 300"), verdict: p(problemMaxForwards)},
	{name: "open quote", text: compose(opts, "To: \"Ben <sip:ben@example.org>"), verdict: p(problemTo)},
	{name: "open bracket", text: compose(opts, "From: Ann <sip:ann@example.net;tag=1"), verdict: p(problemFrom)},
	{name: "Request-URI in angle brackets", text: compose("OPTIONS <sip:ben@example.org> SIP/2.0"), verdict: p(problemRequestURI)},
	{name: "space in the Request-URI", text: compose("OPTIONS sip:ben@example.org; lr SIP/2.0"), verdict: p(problemRequestURI)},
	{name: "two spaces in the request line", text: compose("OPTIONS  sip:ben@example.org  SIP/2.0"), verdict: p(problemRequestURI)},
	{name: "space after the version", text: compose("OPTIONS sip:ben@example.org SIP/2.0  "), verdict: p(problemStartLine)},
	{name: "spaces inside angle brackets", text: compose(opts, "To: \"Ben\" < sip:ben@example.org >"), verdict: p(problemTo)},
	{name: "unquoted comma in the display name", text: compose(opts, "From: Bell, Ann <sip:ann@example.net>;tag=4"), verdict: p(problemFrom)},
	{name: "no Request-URI", text: compose("OPTIONS SIP/2.0"), verdict: p(problemStartLine), facts: []string{"uri="}},
	{name: "method that is no token", text: compose("OPT@IONS sip:ben@example.org SIP/2.0"), verdict: p(problemStartLine)},
	{name: "version alone", text: "SIP/2.0 \r\n\r\n", verdict: ErrNotSIP.Error()},
	{name: "response with From twice", text: compose("SIP/2.0 200 OK", "f: <sip:eve@example.net>"), verdict: p(problemTwice)},
	{name: "another version", text: compose("OPTIONS sip:ben@example.org SIP/7.0", "Via: SIP/7.0/UDP h.example.net;branch=z9hG4bK1"), verdict: p(problemVersion)},
	{name: "CSeq with another method", text: compose(opts, "CSeq: 8 INVITE"), verdict: p(problemCSeqMethod)},
	{name: "CSeq with another unknown method", text: compose("STRANGE sip:ben@example.org SIP/2.0", "CSeq: 8 INVITE"), verdict: p(problemCSeqMethod)},
	{name: "CSeq with the method in another case", text: compose(opts, "CSeq: 8 options"), verdict: p(problemCSeqMethod)},
	{name: "status code beyond 32 bits", text: compose("SIP/2.0 4294967496 fine"), verdict: p(problemStatus), facts: []string{"status=999"}},
	{name: "status code of four digits", text: compose("SIP/2.0 0200 fine"), verdict: p(problemStatus)},
	{name: "status code below 100", text: compose("SIP/2.0 099 fine"), verdict: p(problemStatus)},
	{name: "no From, To, Call-ID", text: compose(opts, "-From", "-To", "-Call-ID"), verdict: p(problemFrom)},
	{name: "no To", text: compose(opts, "-To"), verdict: p(problemTo)},
	{name: "no Call-ID", text: compose(opts, "-Call-ID"), verdict: p(problemCallID)},
	{name: "no CSeq", text: compose(opts, "-CSeq"), verdict: p(problemCSeq)},
	{name: "no Via", text: compose(opts, "-Via"), verdict: p(problemVia)},
	{name: "single header fields twice", text: compose(opts, "CSeq: 7 OPTIONS", "CSeq: 59 OPTIONS", "Call-ID: a", "Call-ID: b", "To: <sip:x@y>", "To: <sip:z@y>"), verdict: p(problemTwice)},
	{name: "From twice, once compact", text: compose(opts, "f: <sip:eve@example.net>;tag=1"), verdict: p(problemTwice)},
	{name: "white space in Call-ID", text: compose(opts, "Call-ID: a\tb"), verdict: p(problemCallID)},
	{name: "lines that end without carriage return", text: strings.ReplaceAll(compose(opts), "\r\n", "\n"), verdict: p(problemBareLF)},
	{name: "carriage return within a line", text: compose(opts, "X: a\rVia: b"), verdict: p(problemBareCR)},
	{name: "NUL outside of quotes", text: compose(opts, "X: a\x00b"), verdict: p(problemNUL)},
	{name: "header without colon", text: compose(opts, "nothing here"), verdict: p(problemHeader)},
	{name: "header name with a space", text: compose(opts, "X Y: 1"), verdict: p(problemHeader)},
	{name: "first header line is folded", text: compose(opts, "Via:  SIP/2.0/UDP h;branch=z9hG4bK")[:len(opts)+2] + " " + compose(opts)[len(opts)+2:], verdict: p(problemHeader)},
	{name: "address as Request-URI", text: compose("OPTIONS ben@example.org:5060 SIP/2.0"), verdict: p(problemRequestURI)},
	{name: "IPv6 address without brackets", text: compose("OPTIONS sip:2001:db8::7 SIP/2.0"), verdict: p(problemRequestURI)},
	{name: "three colons in front of hexadecimal digits", text: compose("OPTIONS sip:ben@[2001:db8:::7] SIP/2.0"), verdict: p(problemRequestURI)},
	{name: "Route without angle brackets", text: compose(opts, "Route: sip:p.example.net;lr"), verdict: p(problemRoute)},
	{name: "From tag that is no token", text: compose(opts, "From: <sip:ann@example.net>;tag=\"x\""), verdict: p(problemFrom)},
	{name: "no bytes", text: "", verdict: ErrNotSIP.Error()},
	{name: "line breaks only", text: "\r\n\r\n", verdict: ErrNotSIP.Error()},
	{name: "another protocol", text: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", verdict: ErrNotSIP.Error()},
	{name: "no empty line", text: strings.TrimSuffix(compose(opts), "\r\n"), verdict: ErrNoEnd.Error()},
	{name: "cut within a header field", text: compose(opts)[:80], verdict: ErrNoEnd.Error()},
	{name: "too big", text: compose(opts, "", strings.Repeat("x", MaxSize)), verdict: ErrTooBig.Error()},
}

func TestTorture(t *testing.T) {
	for _, c := range append(append([]tortureCase(nil), validCases...), invalidCases...) {
		t.Run(c.name, func(t *testing.T) {
			m := new(Message)
			if got := verdict(m, []byte(c.text)); got != c.verdict {
				t.Fatalf("verdict %q, want %q for\n%s", got, c.verdict, c.text)
			}
			if len(c.facts) == 0 {
				return
			}
			got := facts(m)
			for _, f := range c.facts {
				name, want, _ := strings.Cut(f, "=")
				if v, ok := got[name]; !ok || v != want {
					t.Errorf("%s is %q, want %q", name, v, want)
				}
			}
		})
	}
}

func TestTortureSurvivesForwarding(t *testing.T) {
	for _, c := range validCases {
		m := parse(t, c.text)
		before := facts(m)
		again := parse(t, string(m.AppendTo(nil)))
		after := facts(again)
		delete(before, "headers")
		for name, want := range before {
			if after[name] != want {
				t.Errorf("%s: %s became %q, was %q", c.name, name, after[name], want)
			}
		}
		reply := parse(t, string(m.AppendReply(nil, &Reply{Code: 404, Reason: "Not Found", ToTag: []byte("new")})))
		if p := reply.Check(); p != nil && m.IsRequest() {
			t.Errorf("%s: the reply is bad: %v\n%s", c.name, p, reply.Bytes())
		}
	}
}

// A refused request is answered all the same.
func TestTortureReplies(t *testing.T) {
	for _, c := range invalidCases {
		m := new(Message)
		if m.Parse([]byte(c.text)) == nil && m.IsRequest() {
			m.Check()
			out := m.AppendReply(nil, &Reply{Code: 400, Reason: "Bad Request", ToTag: []byte("new")})
			if r := new(Message); r.Parse(out) != nil || r.Status != 400 {
				t.Errorf("%s: the reply cannot be framed:\n%s", c.name, out)
			}
		}
	}
}

// TestTortureReplyIsWellFormed has what the request got wrong and the response
// must not repeat.
func TestTortureReplyIsWellFormed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{compose(opts, "CSeq: 7 OPTIONS", "CSeq: 8 OPTIONS", "t: <sip:eve@example.org>", "i: other", "f: <sip:eve@example.net>"), compose(opts)},
		{strings.ReplaceAll(compose(opts), "\r\n", "\n"), compose(opts)},
		{compose(opts, "Call-ID: a\rb"), compose(opts, "Call-ID: a b")},
	} {
		bad, good := new(Message), parse(t, c.want)
		if bad.Parse([]byte(c.text)) != nil || bad.Check() == nil {
			t.Fatalf("not refused:\n%s", c.text)
		}
		r := &Reply{Code: 400, Reason: "Bad Request", ToTag: []byte("new")}
		if got, want := string(bad.AppendReply(nil, r)), string(good.AppendReply(nil, r)); got != want {
			t.Errorf("%q\nwant\n%q", got, want)
		}
	}
	m := parse(t, compose(opts, "To: Ben, B <sip:ben@example.org>;tag=5"))
	if got := string(m.AppendReply(nil, &Reply{Code: 400, ToTag: []byte("new")})); strings.Count(got, "tag=") != 2 {
		t.Errorf("a second To tag: %q", got)
	}
}

// A Request-URI is sent on without header fields, whoever wrote it.
func TestTortureRequestURIHeaders(t *testing.T) {
	m := parse(t, compose("INVITE sip:b?c@example.org;x?Route=%3Csip:example.net%3E SIP/2.0"))
	for uri, want := range map[string]string{"": "sip:b?c@example.org;x", "sip:ben@h?a=b": "sip:ben@h", "sip:ben@h?": "sip:ben@h", "tel:+1;x=?": "tel:+1;x=?", "sip:b?@h": "sip:b?@h"} {
		f := Forward{MaxForwards: 9}
		if uri != "" {
			f.URI = []byte(uri)
		}
		if got := string(m.AppendForward(nil, &f)); !strings.HasPrefix(got, "INVITE "+want+" SIP/2.0\r\n") {
			t.Errorf("%q is sent on as %.60q", uri, got)
		}
	}
}

// rfcVerdicts are the outcomes that RFC 4475 and RFC 5118 require for their own
// messages, as far as they are the parser's: "" leaves the message to others.
var rfcVerdicts = map[string]string{
	"rfc4475/badaspec": p(problemTo), "rfc4475/badbranch": "", "rfc4475/baddate": "", "rfc4475/baddn": p(problemFrom),
	"rfc4475/badinv01": p(problemVia), "rfc4475/badvers": p(problemVersion), "rfc4475/bcast": "", "rfc4475/bext01": "",
	"rfc4475/bigcode": p(problemStatus), "rfc4475/clerr": p(problemTruncated), "rfc4475/cparam01": "", "rfc4475/cparam02": "",
	"rfc4475/dblreq": "", "rfc4475/esc01": "", "rfc4475/esc02": "", "rfc4475/escnull": "", "rfc4475/escruri": "",
	"rfc4475/insuf": p(problemFrom), "rfc4475/intmeth": "", "rfc4475/inv2543": "", "rfc4475/invut": "", "rfc4475/longreq": "",
	"rfc4475/ltgtruri": p(problemRequestURI), "rfc4475/lwsdisp": "", "rfc4475/lwsruri": p(problemRequestURI),
	"rfc4475/lwsstart": p(problemRequestURI), "rfc4475/mcl01": p(problemTwice), "rfc4475/mismatch01": p(problemCSeqMethod),
	"rfc4475/mismatch02": p(problemCSeqMethod), "rfc4475/mpart01": "", "rfc4475/multi01": p(problemTwice),
	"rfc4475/ncl": p(problemContentLength), "rfc4475/noreason": "", "rfc4475/novelsc": "", "rfc4475/quotbal": p(problemTo),
	"rfc4475/regaut01": "", "rfc4475/regbadct": "", "rfc4475/regescrt": "", "rfc4475/scalar02": p(problemCSeq),
	"rfc4475/scalarlg": p(problemCSeq), "rfc4475/sdp01": "", "rfc4475/semiuri": "", "rfc4475/transports": "",
	"rfc4475/trws": p(problemStartLine), "rfc4475/unkscm": "", "rfc4475/unksm2": "", "rfc4475/unreason": "", "rfc4475/wsinv": "",
	"rfc4475/zeromf":           "",
	"rfc5118/ipv4-mapped-ipv6": "", "rfc5118/ipv6-bad": p(problemRequestURI), "rfc5118/ipv6-bug-abnf-3-colons": "",
	"rfc5118/ipv6-correct-abnf-2-colons": "", "rfc5118/ipv6-good": "", "rfc5118/ipv6-in-sdp": "", "rfc5118/mult-ip-in-header": "",
	"rfc5118/mult-ip-in-sdp": "", "rfc5118/port-ambiguous": "", "rfc5118/port-unambiguous": "",
	"rfc5118/via-received-param-no-delim": "", "rfc5118/via-received-param-with-delim": "",
}

// TestRFCMessages reads the messages of the RFCs where they are at hand.
func TestRFCMessages(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "torture")
	files, _ := filepath.Glob(filepath.Join(dir, "rfc*", "*.dat"))
	if len(files) == 0 {
		t.SkipNow()
	}
	for _, file := range files {
		name, _ := filepath.Rel(dir, strings.TrimSuffix(file, ".dat"))
		name = filepath.ToSlash(name)
		want, ok := rfcVerdicts[name]
		if !ok {
			t.Errorf("%s: no outcome is known", name)
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := new(Message)
		got := verdict(m, raw)
		if got != want {
			t.Errorf("%s: verdict %q, want %q", name, got, want)
			continue
		}
		if want != "" {
			continue
		}
		again := new(Message)
		if got := verdict(again, m.AppendTo(nil)); got != "" {
			t.Errorf("%s: after AppendTo: %s", name, got)
		}
	}
}
