package acc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// jsonFile is a file of JSON lines that others may rotate.
type jsonFile struct {
	name string
	mu   sync.Mutex
	f    *os.File
	// torn says that the file does not end with a line: a write was cut short.
	torn bool
}

// openJSON opens a file to append to; "-" is the standard output.
func openJSON(name string) (*jsonFile, error) {
	j := &jsonFile{name: name}
	return j, j.reopen()
}

// reopen opens the file by its name again. On an error the old one stays.
func (j *jsonFile) reopen() error {
	f := os.Stdout
	if j.name != "-" {
		var err error
		if f, err = os.OpenFile(j.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640); err != nil {
			return fmt.Errorf("json_file: %w", err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closeLocked()
	j.f, j.torn = f, false
	return nil
}

// write appends a line by one write, so that lines of several writers do not
// mix.
func (j *jsonFile) write(line []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return fs.ErrClosed
	}
	if j.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := j.f.Write(line)
	j.torn = n < len(line) && (n > 0 || j.torn)
	return err
}

func (j *jsonFile) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closeLocked()
}

func (j *jsonFile) closeLocked() {
	if j.f != nil && j.f != os.Stdout {
		j.f.Close()
	}
	j.f = nil
}

// spool is a file of the rows that the database has not taken. The writer
// alone uses it.
type spool struct{ name string }

// append adds rows and waits until they are on the disk.
func (s *spool) append(rows []*row) error {
	// The empty line divides from a line that a crash has cut short.
	buf := bytes.NewBuffer([]byte{'\n'})
	for _, w := range rows {
		if err := w.appendLine(buf); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(s.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("spool_file: %w", err)
	}
	_, err = f.Write(buf.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("spool_file: %w", err)
	}
	return nil
}

// replay gives every row to insert and then empties the file. It returns how
// many rows there were, and how many lines were none. Rows that were inserted
// before an error are inserted again the next time, which changes nothing.
func (s *spool) replay(insert func([]*row) error) (rows, bad int, err error) {
	f, err := os.Open(s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("spool_file: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var batch []*row
	for end := false; !end; {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return rows, bad, fmt.Errorf("spool_file: %w", err)
		}
		end = err == io.EOF
		if line = bytes.TrimSpace(line); len(line) > 0 {
			w := new(row)
			if json.Unmarshal(line, w) == nil && w.RUID != "" {
				batch = append(batch, w)
			} else {
				bad++
			}
		}
		if len(batch) == batchSize || end && len(batch) > 0 {
			if err := insert(batch); err != nil {
				return rows, bad, err
			}
			rows += len(batch)
			batch = batch[:0]
		}
	}
	if err := os.Truncate(s.name, 0); err != nil {
		return rows, bad, fmt.Errorf("spool_file: %w", err)
	}
	return rows, bad, nil
}

// empty tells whether nothing is in the file.
func (s *spool) empty() bool {
	info, err := os.Stat(s.name)
	return err != nil || info.Size() == 0
}
