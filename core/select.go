package core

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sipr/core/sipmsg"
)

// Select is a compiled select: a value of the message or of the router that a
// name such as "@ruri.host" stands for. Its result has no value where the
// message has none. Reading one does not allocate.
type Select func(r *Request) Value

// CompileSelect compiles "@from.uri.host", "@msg.header[\"X\"]" and the like.
// Between names "_" and "-" are the same.
func CompileSelect(text string) (Select, error) {
	names, err := splitSelect(text)
	if err != nil {
		return nil, err
	}
	p := &selectPath{text: text, names: names}
	build, err := pick(p, selectRoots)
	if err != nil {
		return nil, err
	}
	sel, err := build(p)
	if err != nil {
		return nil, err
	}
	if p.at < len(p.names) {
		return nil, p.unknown(nil)
	}
	return sel, nil
}

// splitSelect splits a select into its names; brackets may hold any text.
func splitSelect(text string) ([]string, error) {
	s, ok := strings.CutPrefix(text, "@")
	if !ok || s == "" {
		return nil, fmt.Errorf("%q is not a select", text)
	}
	var names []string
	for s != "" {
		if s[0] == '[' {
			name, rest, err := cutBracket(s)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", text, err)
			}
			names = append(names, name)
			s = strings.TrimPrefix(rest, ".")
			continue
		}
		end := strings.IndexAny(s, ".[")
		if end < 0 {
			end = len(s)
		}
		names = append(names, s[:end])
		s = strings.TrimPrefix(s[end:], ".")
	}
	return names, nil
}

// cutBracket cuts ["name"], ['name'] or [name] off s.
func cutBracket(s string) (name, rest string, err error) {
	if len(s) > 1 && (s[1] == '"' || s[1] == '\'') {
		end := strings.Index(s[2:], s[1:2]+"]")
		if end < 0 {
			return "", "", fmt.Errorf("%c] is missing", s[1])
		}
		return s[2 : 2+end], s[2+end+2:], nil
	}
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return "", "", fmt.Errorf("] is missing")
	}
	return s[1:end], s[end+1:], nil
}

// selectPath is the names of a select and how far it is compiled.
type selectPath struct {
	text  string
	names []string
	at    int
}

// end tells whether there are no more names.
func (p *selectPath) end() bool { return p.at == len(p.names) }

// next returns the next name and moves behind it; "" at the end.
func (p *selectPath) next() string {
	if p.end() {
		return ""
	}
	p.at++
	return p.names[p.at-1]
}

// is moves behind the next name if it is one of names.
func (p *selectPath) is(names ...string) bool {
	if p.end() || !slices.Contains(names, plainName(p.names[p.at])) {
		return false
	}
	p.at++
	return true
}

// index moves behind the next name if it is a number: 1 is the first, -1 the
// last. It returns def otherwise.
func (p *selectPath) index(def int) (int, error) {
	if p.end() {
		return def, nil
	}
	n, err := strconv.Atoi(p.names[p.at])
	if err != nil {
		return def, nil
	}
	if n == 0 {
		return 0, fmt.Errorf("%q: values are counted from 1, or from -1 down", p.text)
	}
	p.at++
	return n, nil
}

// unknown is the error for the name that comes next.
func (p *selectPath) unknown(known []string) error {
	done := strings.Join(p.names[:p.at], ".")
	if p.end() {
		if len(known) > 0 {
			return fmt.Errorf("%q is not a select: %s has no value by itself; %s.%s and others have", p.text, done, done, slices.Min(known))
		}
		return fmt.Errorf("%q is not a select: a name is missing after %s", p.text, done)
	}
	name := p.names[p.at]
	full := name
	if done != "" {
		full = done + "." + name
	}
	advice := ""
	if near := nearestName(plainName(name), known); near != "" {
		advice = " (did you mean " + near + "?)"
	}
	return fmt.Errorf("%q is not a select: there is no %q%s", p.text, full, advice)
}

// pick moves behind the next name and returns what it stands for.
func pick[T any](p *selectPath, members map[string]T) (T, error) {
	var none T
	if !p.end() {
		if m, ok := members[plainName(p.names[p.at])]; ok {
			p.at++
			return m, nil
		}
	}
	return none, p.unknown(slices.Collect(maps.Keys(members)))
}

// plainName is a name as the tables have it.
func plainName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// nearestName returns the known name that is most like name, or "".
func nearestName(name string, known []string) string {
	best, least := "", len(name)/2+1
	slices.Sort(known)
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

// buildSelect compiles what follows a name.
type buildSelect func(p *selectPath) (Select, error)

// leaf is a name that nothing follows.
func leaf(f Select) buildSelect { return func(*selectPath) (Select, error) { return f, nil } }

// selectRoots are the names that a select may begin with.
var selectRoots = map[string]buildSelect{
	"method":      leaf(func(r *Request) Value { return RawValue(r.MethodName()) }),
	"ruri":        requestURI,
	"request_uri": requestURI,
	"r":           requestURI,
	"dst_uri":     dstURI,
	"next_hop":    nextHop,
	"from":        fromSelect, "f": fromSelect,
	"to": toSelect, "t": toSelect,
	"contact": nameAddrHeader(sipmsg.HContact), "m": nameAddrHeader(sipmsg.HContact),
	"refer_to": nameAddrHeader(sipmsg.HReferTo),
	"rpid":     nameAddrHeader(sipmsg.HRemotePartyID), "remote_party_id": nameAddrHeader(sipmsg.HRemotePartyID),
	"rr": nameAddrHeader(sipmsg.HRecordRoute), "record_route": nameAddrHeader(sipmsg.HRecordRoute),
	"route": nameAddrHeader(sipmsg.HRoute),
	"via":   viaSelect, "v": viaSelect,
	"cseq":    cseqSelect,
	"call_id": callID, "callid": callID, "i": callID,
	"event":          oneHeader(sipmsg.HEvent),
	"expires":        oneHeader(sipmsg.HExpires),
	"max_forwards":   leaf(func(r *Request) Value { return headerValue(r.Msg, sipmsg.HMaxForwards) }),
	"content_type":   oneHeader(sipmsg.HContentType),
	"content_length": oneHeader(sipmsg.HContentLength),
	"subject":        oneHeader(sipmsg.HSubject),
	"user_agent":     oneHeader(sipmsg.HUserAgent),
	"date":           oneHeader(sipmsg.HDate),
	"organization":   namedHeader("Organization"),
	"priority":       namedHeader("Priority"),
	"identity":       namedHeader("Identity"),
	"msg":            msgSelect, "message": msgSelect,
	"hf_value": headerValues,
	"src":      addrSelect(func(r *Request) selectAddr { return selectAddr{r.Flow.Remote, r.Flow.Proto()} }),
	"dst":      addrSelect(localAddr), "received": addrSelect(localAddr),
	"auth":    authSelect,
	"version": leaf(func(r *Request) Value { return RawValue(r.Message().Version()) }),
	"status":  leaf(replyStatus), "code": leaf(replyStatus),
	"reason":  leaf(replyReason),
	"sys":     sysSelect,
	"cfg_get": configSelect,
}

func replyStatus(r *Request) Value {
	if r.Reply == nil {
		return Value{}
	}
	return IntValue(int64(r.Reply.Status))
}

func replyReason(r *Request) Value {
	if r.Reply == nil {
		return Value{}
	}
	return RawValue(r.Reply.Reason())
}

var cseqMembers = map[string]Select{
	"num": func(r *Request) Value {
		n, _, err := r.Message().CSeq()
		if err != nil {
			return Value{}
		}
		return IntValue(int64(n))
	},
	"method": func(r *Request) Value { _, m, _ := r.Message().CSeq(); return RawValue(m) },
}

func cseqSelect(p *selectPath) (Select, error) {
	if p.end() {
		return func(r *Request) Value { return headerValue(r.Message(), sipmsg.HCSeq) }, nil
	}
	return pick(p, cseqMembers)
}

func callID(*selectPath) (Select, error) {
	return func(r *Request) Value { return RawValue(r.Message().CallID()) }, nil
}

var authMembers = map[string]func(*Identity) string{
	"user":  func(i *Identity) string { return i.User },
	"realm": func(i *Identity) string { return i.Realm },
	"uid":   func(i *Identity) string { return i.UID },
	"did":   func(i *Identity) string { return i.DID },
}

func authSelect(p *selectPath) (Select, error) {
	f, err := pick(p, authMembers)
	if err != nil {
		return nil, err
	}
	return func(r *Request) Value {
		if !r.Auth.Known {
			return Value{}
		}
		return TextValue(f(&r.Auth))
	}, nil
}
