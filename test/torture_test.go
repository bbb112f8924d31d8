package test

import "strings"

// rule is one rule of RFC 4475 or RFC 5118 as a message and its required
// outcome at a router that relays everything to one next hop.
type rule struct {
	name  string
	start string   // the start line
	lines []string // see compose
	// code is what the router answers; 0 stands for sent on as it was.
	code int
	// sent is the start line that is sent on, where it is not the one received.
	sent string
}

// dropped is the code of a message that nobody answers and nobody gets.
const dropped = -1

const (
	opts   = "OPTIONS sip:ben@example.org SIP/2.0"
	invite = "INVITE sip:ben@example.org SIP/2.0"
	reg    = "REGISTER sip:example.org SIP/2.0"
)

func lines(l ...string) []string { return l }

// compose builds a message from a start line and seven usual header fields. A
// line whose name is one of theirs takes its place, "-Name" removes it, and any
// other line is added; what follows an empty line is the body. $a stands for the
// sender's address, $u for a text that is used once.
func compose(start string, more []string, addr string) string {
	method, _, _ := strings.Cut(start, " ")
	all := []string{
		"Via: SIP/2.0/UDP $a;branch=z9hG4bK$u;rport",
		"Max-Forwards: 20",
		"From: <sip:ann@example.net>;tag=f1",
		"To: <sip:ben@example.org>",
		"Call-ID: $u@example.net",
		"CSeq: 7 " + method,
		"Content-Length: 0",
	}
	changed := map[string]bool{}
	body := ""
	for i, line := range more {
		if line == "" {
			body = strings.Join(more[i+1:], "\r\n")
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "-"), ":")
		at := -1
		for j, have := range all {
			if n, _, _ := strings.Cut(have, ":"); n == name && !changed[name] {
				at = j
			}
		}
		switch {
		case at >= 0 && line[0] == '-':
			all = append(all[:at], all[at+1:]...)
		case at >= 0:
			all[at], changed[name] = line, true
		default:
			all, changed[name] = append(all, line), true
		}
	}
	text := start + "\r\n" + strings.Join(all, "\r\n") + "\r\n\r\n" + body
	return strings.NewReplacer("$a", addr, "$u", unique("u")).Replace(text)
}

// valid are rules whose messages have to be sent on, byte for byte but for what
// a proxy changes (RFC 4475 §3.1.1, §3.2 to §3.4; RFC 5118 §4).
var valid = []rule{
	{"white space and folding everywhere", "INVITE sip:ben@example.org;strange SIP/2.0", lines("-Via", "-To", "-From", "-Max-Forwards", "-CSeq", "-Content-Length",
		"tO  :\r\n\t sip:ben@example.org ;\t tag   =  77t", "FROM\t: \"A \\\\\\\" nn\"   <sip:ann@example.net>\r\n ;\r\n  tag = 5x",
		"mAx-FORWARDS: 00021", "cSEQ: 0012\r\n \t INVITE", "CONTENT-length \t :  3", "Subject:", "s2 :", "Odd: ;;,,;,",
		"VIA : SIP /  2.0\r\n / UDP \r\n  $a  ;\r\n rport ; branch\t=\r\n z9hG4bK$u",
		"v: SIP/2.0/ UDP second.example.net : 5070 ; branch =\r\n z9hG4bKs , SIP / 2.0/TLS third.example.net ;branch= z9hG4bKt", "", "abc"), 0, ""},
	{"wide range of characters", "*Odd.%method!_+`'~9 sip:u_.!~*'()&=+$,;?/:p&=+$,-w@example.org SIP/2.0", lines("To: \"quoted \\\a \\\x00 \\\x7f\" <sip:ben_~;?/@example.org>",
		"From: odd`' t0ken.~ <sip:ann@example.net>;p''!~=\"\xd0\xb9\xd1\x86\";tag=_~t'+`*%!-.", "Call-ID: $uw%Z-!.*_+'@w`~)(><:\\/\"][?}{", "x-!.%*_+`'~:\xef\xbb\xbf\xe5\xa4\xa7",
		"Via: SIP/2.0/UDP $a;branch=z9hG4bK.!%*_+`'~$u", "Max-Forwards: 255"), 0, ""},
	{"escapes in URIs", "INVITE sip:tel%3Aben%40x@example.org SIP/2.0", lines("To: sip:b%65n@example.org", "From: <sip:two%20words@example.net>;tag=9", "m:\r\n <sip:%61nn@h.example.net;%6C%72;x%79=%25%31>"), 0, ""},
	{"escaped NUL", reg, lines("To: sip:a%00b@example.org", "From: sip:a%00b@example.org;tag=1", "Contact: <sip:%00@h.example.net>", "Contact: <sip:%00%00@h.example.net>"), 0, ""},
	{"percent is no escape in methods, names and tokens", "RE%47ISTER sip:example.org SIP/2.0", lines("C%6Fntact: <sip:x@example.org>", "To: \"%Z%45\" <sip:ben@example.org>", "Via: SIP/2.0/UDP $a;branch=z9hG4bK2%fzs$u"), 0, ""},
	{"no space before the angle bracket", opts, lines("From: ann<sip:ann@example.net>;tag=3"), 0, ""},
	{"long values", invite, lines("To: \""+strings.Repeat("long ", 40)+"\"<sip:ben@example.org;"+strings.Repeat("n", 300)+"="+strings.Repeat("v", 300)+">", "Call-ID: $u"+strings.Repeat("really", 60),
		strings.Repeat("Long", 40)+"-Name: "+strings.Repeat("value;", 60), "v: SIP/2.0/TCP last.example.net;branch="+strings.Repeat("b", 250)), 0, ""},
	{"semicolon in the user part", "OPTIONS sip:ben;x=y%40z.example@example.org SIP/2.0", lines("Accept: application/sdp,\r\n      message/sip,\r\n\tmessage/sipfrag"), 0, ""},
	{"transports of all kinds", opts, lines("v: SIP/2.0/SCTP b.example.net;branch=z9hG4bK2", "v: SIP/2.0/TLS c.example.net", "v: SIP/2.0/NEWONE d.example.net;branch=z9hG4bK4"), 0, ""},
	{"binary multipart body", "MESSAGE sip:ben@example.org SIP/2.0", lines("Content-Type: multipart/mixed;boundary=zz", "Content-Length: 30", "", "--zz\r\n\r\n\x00\x01\n\r\xff\r\r\n\n\r\n--zz--\r\n123"), 0, ""},
	{"version in lower case", "OPTIONS sip:ben@example.org sip/2.0", nil, 0, opts},
	{"line breaks before the start line", "\r\n\r\n" + opts, lines("CSeq: 7 OPTIONS"), 0, ""},
	{"header fields in the Request-URI are not sent on", "INVITE sip:ben@example.org;x?Route=%3Csip:example.net%3E SIP/2.0", lines("CSeq: 7 INVITE"), 0, "INVITE sip:ben@example.org;x SIP/2.0"},
	{"time zone other than GMT", opts, lines("Date: Mon, 03 Feb 2020 09:00:00 CET"), 0, ""},
	{"bare Contact with a question mark", reg, lines("Contact: sip:ben@example.org?Route=%3Csip:example.net%3E"), 0, ""},
	{"separators in Contact", opts, lines("Contact: \"Ann\" <sip:ann@example.org>;;;;"), 0, ""},
	{"branch is the cookie alone", opts, lines("Via: SIP/2.0/UDP $a;branch=z9hG4bK;rport"), 0, ""},
	{"no branch, no From tag, no Max-Forwards", "INVITE sip:ben@example.org SIP/2.0", lines("Via: SIP/2.0/UDP $a", "From: <sip:+1555@old.example.net;user=phone>", "-Max-Forwards", "Record-Route: <sip:ben@example.org;maddr=x.example.org>"), 0, ""},
	{"schemes in From, To and Contact", reg, lines("To: isbn:12345", "From: <http://www.example.com>;tag=2", "Contact: <name:Ann>"), 0, ""},
	{"Require is not for proxies", opts, lines("Require: foo, bar"), 0, ""},
	{"media type nobody knows", invite, lines("Content-Type: application/strange", "Accept: text/strange", "Content-Length: 3", "", "<a>"), 0, ""},
	{"authorization scheme nobody knows", reg, lines("Authorization: Nobody x=y", "-Content-Length", "l:0"), 0, ""},
	{"Contact parameter of nobody's", reg, lines("Contact: sip:+1555@gw.example.net;strange"), 0, ""},
	{"Contact URI with escaped header fields", reg, lines("M: <sip:ben@example.org?Route=%3Csip:example.net%3E>", "Expires: 99999999999999999999999"), 0, ""},
	{"pound sign in the user part", "INVITE sip:*21#@example.org SIP/2.0", nil, 0, ""},
	{"zeros before a number", opts, lines("Max-Forwards: " + strings.Repeat("0", 40) + "20"), 0, ""},
	{"IPv6 reference", "OPTIONS sip:[2001:db8::7] SIP/2.0", lines("v: SIP/2.0/UDP [2001:db8::8:1];branch=z9hG4bK6"), 0, ""},
	{"IPv6 reference and port", "OPTIONS sip:[2001:db8::7]:5080 SIP/2.0", nil, 0, ""},
	{"port inside the brackets is part of the address", "OPTIONS sip:[2001:db8::7:5080] SIP/2.0", nil, 0, ""},
	{"received with and without brackets", opts, lines("v: SIP/2.0/UDP [2001:db8::1];received=[2001:db8::2:9];branch=z9hG4bK6", "v: SIP/2.0/UDP [2001:db8::1];received=2001:db8::2:9"), 0, ""},
	{"IPv4 in IPv6", "OPTIONS sip:ben@[2001:db8::192.0.2.4] SIP/2.0", lines("v: SIP/2.0/UDP [::ffff:192.0.2.9]:19000;branch=z9hG4bK6", "Contact: <sip:ann@[::ffff:192.0.2.2]>"), 0, ""},
	{"a colon too many before IPv4 in IPv6", "OPTIONS sip:ben@[2001:db8:::192.0.2.4] SIP/2.0", lines("To: sip:ben@[2001:db8:::192.0.2.4]"), 0, ""},
	{"address families mixed", "BYE sip:ben@example.org SIP/2.0", lines("v: SIP/2.0/UDP 192.0.2.1, SIP/2.0/TCP [2001:db8::2];received=192.0.2.2"), 0, ""},
	{"junk with the eighth bit set", opts, lines("Subject: \xff\xfe\x80 \xc3\x28", "X: \x01\x02\x7f"), 0, ""},
	{"quotes and backslashes without end", opts, lines("Subject: "+strings.Repeat("\\\"", 2000)+"\"", "X: "+strings.Repeat("((\"<,;", 2000)), 0, ""},
	{"one header field of 40 kB", opts, lines("X: " + strings.Repeat("x", 40000)), 0, ""},
	{"900 header fields", opts, lines(strings.Split(strings.Repeat("a:,", 900), ",")[:900]...), 0, ""},
	{"commas by the thousand", opts, lines("Supported: "+strings.Repeat(",", 9000), "Contact: "+strings.Repeat("<,>,", 3000)), 0, ""},
}

// invalid are rules whose messages are refused (RFC 4475 §3.1.2, §3.3; RFC 5118
// §4.2), and what else is hostile.
var invalid = []rule{
	{"stray separators in Via", opts, lines("Via: SIP/2.0/UDP $a;;,;,,"), 400, ""},
	{"negative length", opts, lines("Content-Length: -9", "", "short"), 400, ""},
	{"two lengths", opts, lines("Content-Length: 5", "l: 3", "", "short"), 400, ""},
	{"length that is no number", opts, lines("Content-Length: 5, 5", "", "short"), 400, ""},
	{"CSeq beyond 32 bits", opts, lines("CSeq: 36893488147419103232 OPTIONS"), 400, ""},
	{"CSeq of 2^32", opts, lines("CSeq: 4294967296 OPTIONS"), 400, ""},
	{"Max-Forwards above 255", opts, lines("Max-Forwards: 300"), 400, ""},
	{"open quote", opts, lines("To: \"Ben <sip:ben@example.org>"), 400, ""},
	{"Request-URI in angle brackets", "OPTIONS <sip:ben@example.org> SIP/2.0", nil, 400, ""},
	{"space in the Request-URI", "OPTIONS sip:ben@example.org; lr SIP/2.0", nil, 400, ""},
	{"two spaces in the request line", "OPTIONS  sip:ben@example.org  SIP/2.0", nil, 400, ""},
	{"space after the version", "OPTIONS sip:ben@example.org SIP/2.0  ", nil, 400, ""},
	{"no Request-URI", "OPTIONS SIP/2.0", nil, 400, ""},
	{"method that is no token", "OPT@IONS sip:ben@example.org SIP/2.0", nil, 400, ""},
	{"spaces inside angle brackets", opts, lines("To: \"Ben\" < sip:ben@example.org >"), 400, ""},
	{"unquoted comma in the display name", opts, lines("From: Bell, Ann <sip:ann@example.net>;tag=4", "To: Ben, B <sip:ben@example.org>;tag=5"), 400, ""},
	{"another version", "OPTIONS sip:ben@example.org SIP/7.0", lines("Via: SIP/7.0/UDP $a;branch=z9hG4bK$u;rport"), 505, ""},
	{"CSeq with another method", opts, lines("CSeq: 8 INVITE"), 400, ""},
	{"CSeq with another unknown method", "STRANGE sip:ben@example.org SIP/2.0", lines("CSeq: 8 INVITE"), 400, ""},
	{"no From, To, Call-ID", invite, lines("-From", "-To", "-Call-ID"), 400, ""},
	{"no Via", opts, lines("-Via"), dropped, ""},
	{"single header fields twice", opts, lines("CSeq: 7 OPTIONS", "CSeq: 59 OPTIONS", "Call-ID: $u", "Call-ID: b", "To: <sip:x@y>", "To: <sip:z@y>", "Max-Forwards: 5", "Max-Forwards: 70"), 400, ""},
	{"lines that end without carriage return", opts, lines("X: a\nY: b", "From: <sip:ann@example.net>\n ;tag=1"), 400, ""},
	{"carriage return within a line", opts, lines("X: a\rVia: b", "To: <sip:ben@example.org>\r;x=y"), 400, ""},
	{"NUL outside of quotes", opts, lines("X: a\x00b"), 400, ""},
	{"header without colon", opts, lines("nothing here"), 400, ""},
	{"IPv6 address without brackets", "REGISTER sip:2001:db8::7 SIP/2.0", nil, 400, ""},
	{"unknown scheme", "OPTIONS whoKnows:opaque SIP/2.0", nil, 416, ""},
	{"scheme that is known elsewhere", "OPTIONS soap.x://192.0.2.3:3002 SIP/2.0", nil, 416, ""},
	{"extension of proxies that nobody knows", opts, lines("Require: foo, bar", "Proxy-Require: baz, qux"), 420, ""},
	{"no hops left", opts, lines("Max-Forwards: 0"), 483, ""},
	{"no hops left for REGISTER", reg, lines("Max-Forwards: 0"), 483, ""},
	{"10,000 header fields", opts, lines(strings.Split(strings.Repeat("a:,", 10000), ",")[:10000]...), 400, ""},
	{"quotes in To without end", opts, lines("To: " + strings.Repeat("\"\\", 15000)), 400, ""},
	{"status code beyond 32 bits", "SIP/2.0 4294967496 fine", lines("CSeq: 1 OPTIONS"), dropped, ""},
	{"response with a CSeq beyond 32 bits", "SIP/2.0 503 No", lines("CSeq: 9292394834772304023312 OPTIONS"), dropped, ""},
	{"response that nobody asked for", "SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe", lines("CSeq: 35 INVITE"), dropped, ""},
	{"response to the broadcast address", "SIP/2.0 200 OK", lines("CSeq: 35 INVITE", "v: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKb"), dropped, ""},
}
