package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// FormatText returns a result as a person reads it: scalars one a line, objects
// as kamcmd prints them, and arrays as their values, so that members that had
// one name have it again. An empty object is nothing. Control characters, which
// may come from a SIP message, do not reach the terminal.
func FormatText(raw json.RawMessage) string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var b strings.Builder
	if err := writeText(&b, dec, "", ""); err != nil {
		return printable(string(raw), true) + "\n"
	}
	return b.String()
}

// writeText writes the next value of dec. Within an object, name is the member's
// and indent that of its line.
func writeText(b *strings.Builder, dec *json.Decoder, name, indent string) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	member := indent != ""
	switch tok {
	case json.Delim('['):
		for dec.More() {
			if err := writeText(b, dec, name, indent); err != nil {
				return err
			}
		}
		_, err := dec.Token()
		return err
	case json.Delim('{'):
		if !member && !dec.More() {
			_, err := dec.Token()
			return err
		}
		b.WriteString(indent)
		if member {
			b.WriteString(name + ": ")
		}
		b.WriteString("{\n")
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			if err := writeText(b, dec, printable(fmt.Sprint(key), false), indent+"\t"); err != nil {
				return err
			}
		}
		b.WriteString(indent + "}\n")
		_, err := dec.Token()
		return err
	}
	text := nullText
	if tok != nil {
		text = printable(fmt.Sprint(tok), !member)
	}
	if member {
		b.WriteString(indent + name + ": ")
	}
	b.WriteString(text + "\n")
	return nil
}

// printable replaces control characters by Go's escapes. Lines and tabs pass
// where the text stands alone.
func printable(s string, alone bool) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsControl(r) || alone && (r == '\n' || r == '\t') {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}
