package main

import (
	"bufio"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// passwordFlags tell where a password comes from.
type passwordFlags struct {
	text, file string
}

func (p *passwordFlags) bind(c *cobra.Command) {
	c.Flags().StringVarP(&p.text, "password", "p", "", "the password; others on this machine can see it in the list of processes")
	c.Flags().StringVar(&p.file, "password-file", "", "a file whose first line is the password; - is standard input")
}

func given(c *cobra.Command) bool {
	return c.Flags().Changed("password") || c.Flags().Changed("password-file")
}

// read returns the password: of the flags, of standard input if that is not a
// terminal, or as it is typed twice.
func (p *passwordFlags) read(c *cobra.Command) (string, error) {
	if c.Flags().Changed("password") && c.Flags().Changed("password-file") {
		return "", usageError("--password and --password-file exclude each other")
	}
	if c.Flags().Changed("password") {
		fmt.Fprintln(c.ErrOrStderr(), "warning: -p can be seen in the list of processes; --password-file is safer")
		return checkPassword(p.text)
	}
	in := c.InOrStdin()
	if p.file != "" && p.file != "-" {
		f, err := os.Open(p.file)
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		defer f.Close()
		in = f
	} else if f, ok := in.(*os.File); ok && p.file == "" && isTerminal(f) {
		return typed(f, c.ErrOrStderr())
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("password: %w", err)
	}
	return checkPassword(strings.TrimRight(line, "\r\n"))
}

func typed(f *os.File, out io.Writer) (string, error) {
	first, err := readHidden(f, out, "Password: ")
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	again, err := readHidden(f, out, "Again: ")
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	if first != again {
		return "", errors.New("the passwords differ")
	}
	return checkPassword(first)
}

// readLine reads one line byte by byte, so that nothing behind it is lost.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := r.Read(b)
		if n > 0 && b[0] == '\n' || errors.Is(err, io.EOF) && len(line) > 0 {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if err != nil {
			return "", err
		}
		line = append(line, b[:n]...)
	}
}

func checkPassword(s string) (string, error) {
	if s == "" {
		return "", errors.New("the password is empty")
	}
	if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") {
		return "", errors.New("the password is not one line of UTF-8 text")
	}
	return s, nil
}

// hashes are the HA1 of one password (RFC 7616 §3.4.2, RFC 8760 §2).
type hashes struct{ md5, sha256, sha512 string }

func hash(user, realm, password string) hashes {
	b := []byte(user + ":" + realm + ":" + password)
	return hashes{fmt.Sprintf("%x", md5.Sum(b)), fmt.Sprintf("%x", sha256.Sum256(b)), fmt.Sprintf("%x", sha512.Sum512_256(b))}
}
