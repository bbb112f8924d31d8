package control

import (
	"errors"
	"fmt"
	"strings"

	"sipr/core"
)

// Parameters are text and numbers. One whose word in Args is in braces, such as
// "{domain:…,flags:…}", is a struct, and the command finds a *core.Struct in its
// place: JSON doors take an object for it, BINRPC a struct, and all that have
// only text (the FIFO, kamcmd, a shell) what SER's FIFO takes: names and values
// with colons between them, and commas after.

// structAt tells whether parameter i of c is a struct.
func structAt(c core.Command, i int) bool {
	words := strings.Fields(c.Args)
	return i < len(words) && strings.HasPrefix(strings.TrimPrefix(words[i], "["), "{")
}

// bindParams makes structs of parameters where the command has some. The error
// names the parameter.
func bindParams(c core.Command, params []any) error {
	for i, v := range params {
		switch v := v.(type) {
		case string:
			if !structAt(c, i) {
				continue
			}
			s, err := parseStruct(v, fmt.Sprintf("Parameter %d", i+1))
			if err != nil {
				return err
			}
			params[i] = s
		case *core.Struct:
			if !structAt(c, i) {
				return fmt.Errorf("parameter %d cannot be a struct", i+1)
			}
		case []any:
			return fmt.Errorf("parameter %d cannot be an array", i+1)
		default:
			if structAt(c, i) {
				return fmt.Errorf("parameter %d must be a struct", i+1)
			}
		}
	}
	return nil
}

// parseStruct reads "name:value,name:value" as SER's FIFO does; its errors are
// SER's. where is "Line 2" or the like.
func parseStruct(text, where string) (*core.Struct, error) {
	if text == "" {
		return nil, errors.New(where + " Empty - Structure Expected")
	}
	s := new(core.Struct)
	for member := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(member, ":")
		if !ok {
			return nil, errors.New("Colon missing in struct on " + strings.ToLower(where))
		}
		plainName, ok1 := unescapeFIFO(name)
		plainValue, ok2 := unescapeFIFO(value)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("Error while processing struct member '%s' on %s", name, strings.ToLower(where))
		}
		s.Add(plainName, plainValue)
	}
	return s, nil
}
