package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"sipr/core/sipmsg"
)

// maxWeight bounds a weight, so that sums fit 32 bits.
const maxWeight = 65535

// rule is one way to one gateway.
type rule struct {
	prefix   string
	strip    int
	prepend  string
	target   string
	priority int
	weight   int
	// origin says where the rule came from, for the dump.
	origin string

	// before and after are the target around the place of the user part:
	// "sip:" and "host:port;params".
	before, after string
	// addr is the target's address, invalid if it is a host name.
	addr netip.Addr
}

// checkRule is the check of the parameter rule.
func checkRule(text string) error {
	_, err := parseRule(text)
	return err
}

// parseRule reads "prefix=+1 strip=1 prepend=00 target=sip:… priority=1
// weight=10", in any order. Only the target is required.
func parseRule(text string) (rule, error) {
	r := rule{weight: 1}
	seen := map[string]bool{}
	for _, word := range strings.Fields(text) {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return r, fmt.Errorf("%q is not key=value: write for example prefix=+1 target=sip:192.0.2.1", word)
		}
		if seen[key] {
			return r, fmt.Errorf("%s is given twice: write one rule for each gateway", key)
		}
		seen[key] = true
		var err error
		switch key {
		case "prefix":
			r.prefix = value
		case "prepend":
			r.prepend = value
		case "target":
			r.target = value
		case "strip":
			r.strip, err = number(key, value)
		case "priority":
			r.priority, err = number(key, value)
		case "weight":
			r.weight, err = number(key, value)
		default:
			err = fmt.Errorf("there is no %q: prefix, strip, prepend, target, priority and weight may be given", key)
		}
		if err != nil {
			return r, err
		}
	}
	return r, r.finish()
}

func number(key, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("%s: a whole number is expected, not %q", key, value)
	}
	return n, nil
}

// finish checks r's fields and derives the others.
func (r *rule) finish() error {
	if err := checkDigits(r.prefix); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	if err := checkDigits(r.prepend); err != nil {
		return fmt.Errorf("prepend: %w", err)
	}
	if r.strip < 0 || r.strip > maxNumber {
		return fmt.Errorf("strip: %d is out of range: 0 to %d is allowed", r.strip, maxNumber)
	}
	if r.priority < 0 || r.priority > maxWeight {
		return fmt.Errorf("priority: %d is out of range: 0 (tried first) to %d is allowed", r.priority, maxWeight)
	}
	if r.weight < 0 || r.weight > maxWeight {
		return fmt.Errorf("weight: %d is out of range: 0 (only after the others) to %d is allowed", r.weight, maxWeight)
	}
	return r.setTarget()
}

func (r *rule) setTarget() error {
	if r.target == "" {
		return errors.New("target is missing: write for example target=sip:192.0.2.1:5060;transport=tcp")
	}
	u, err := sipmsg.ParseURI([]byte(r.target))
	if err != nil {
		return fmt.Errorf("target %q: %w", r.target, err)
	}
	if u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS {
		return fmt.Errorf("target %q: a sip: or sips: URI is expected", r.target)
	}
	if len(u.User) > 0 || len(u.Headers) > 0 {
		return fmt.Errorf("target %q: a URI without user and headers is expected, such as sip:%s; the number becomes the user", r.target, u.Host)
	}
	colon := strings.IndexByte(r.target, ':') + 1
	r.before, r.after = r.target[:colon], r.target[colon:]
	if ip, ok := sipmsg.ParseIP(u.Host); ok {
		r.addr = ip.Unmap()
	}
	return nil
}

// checkDigits judges a prefix or what is put before a number.
func checkDigits(s string) error {
	for i := range len(s) {
		if c := s[i]; !(dialled(c) || c == '+' && i == 0) {
			return fmt.Errorf("%q is not the beginning of a number: digits, * and #, after an optional +, are allowed; no separators", s)
		}
	}
	if len(s) > maxNumber {
		return fmt.Errorf("%q is longer than %d characters", s, maxNumber)
	}
	return nil
}

// readFile reads a file of rules. Its errors name file and line.
func readFile(name string) ([]rule, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("file of rules: %w", err)
	}
	var rules []rule
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		r.origin = name + ":" + strconv.Itoa(n)
		rules = append(rules, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return rules, nil
}
