package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
)

// formatTable returns a result as a table: a list of objects with a column for
// each name, an object with a line for each member, anything else a value on
// each line. What is nested stands in one cell.
func formatTable(raw json.RawMessage) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := readNode(dec)
	if err != nil {
		return "", err
	}
	if o, ok := v.(object); ok && len(o) == 1 { // {"domains": […]}
		if _, ok := o[0].value.([]any); ok {
			v = o[0].value
		}
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	switch v := v.(type) {
	case object:
		for _, m := range v {
			fmt.Fprintf(w, "%s\t%s\n", m.name, cellText(m.value))
		}
	case []any:
		writeRows(w, v)
	default:
		fmt.Fprintln(w, cellText(v))
	}
	w.Flush()
	return b.String(), nil
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any // object, []any, json.Number, string, bool or nil
}

func (o object) get(name string) (any, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

func readNode(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := readNode(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	case json.Delim('{'):
		o := object{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := readNode(dec)
			if err != nil {
				return nil, err
			}
			o = append(o, member{cellText(name), v})
		}
		_, err = dec.Token()
		return o, err
	}
	return tok, nil
}

// writeRows writes a list: its objects as rows, if it has nothing else.
func writeRows(w *tabwriter.Writer, list []any) {
	var columns []string
	for _, v := range list {
		o, ok := v.(object)
		if !ok {
			columns = nil
			break
		}
		for _, m := range o {
			if !slices.Contains(columns, m.name) {
				columns = append(columns, m.name)
			}
		}
	}
	if columns == nil {
		for _, v := range list {
			fmt.Fprintln(w, cellText(v))
		}
		return
	}
	fmt.Fprintln(w, strings.ToUpper(strings.Join(columns, "\t")))
	for _, v := range list {
		cells := make([]string, len(columns))
		for i, name := range columns {
			if value, ok := v.(object).get(name); ok {
				cells[i] = cellText(value)
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
}

// cellText returns a value on one line. Control characters, which may come from
// a SIP message, do not reach the terminal.
func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case object:
		parts := make([]string, len(v))
		for i, m := range v {
			parts[i] = m.name + "=" + cellText(m.value)
		}
		return strings.Join(parts, " ")
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = cellText(e)
		}
		return strings.Join(parts, ", ")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, fmt.Sprint(v))
}
