package engine

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"sipr/core"
)

// parseLevel reads the name of a log level, or one of Kamailio's numbers: -1
// and less for errors, 0 for warnings, 2 for what is of interest, 3 and more
// for everything. 1, notices, is between the last two and means warnings here.
func parseLevel(s string) (slog.Level, error) {
	if n, err := strconv.Atoi(s); err == nil {
		switch {
		case n < 0:
			return slog.LevelError, nil
		case n < 2:
			return slog.LevelWarn, nil
		case n == 2:
			return slog.LevelInfo, nil
		}
		return slog.LevelDebug, nil
	}
	switch strings.ToLower(s) {
	case "error", "err":
		return slog.LevelError, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "info":
		return slog.LevelInfo, nil
	case "debug", "dbg":
		return slog.LevelDebug, nil
	}
	return 0, fmt.Errorf("%q is no log level: error, warn, info and debug are, and the numbers -1 to 3", s)
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

// levelNumber is the number that Kamailio has for a level.
func levelNumber(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "-1"
	case l >= slog.LevelWarn:
		return "0"
	case l >= slog.LevelInfo:
		return "2"
	}
	return "3"
}

// levelParam is a parameter that sets the log level, and shows it by text.
func (e *Engine) levelParam(name, typ, doc string, text func(slog.Level) string) core.Param {
	return core.Param{
		Name: name, Doc: doc, Type: typ, Default: text(slog.LevelInfo), Live: true,
		Set: func(v any) error {
			level, err := parseLevel(fmt.Sprint(v))
			if err == nil && e.opts.Level != nil {
				e.opts.Level.Set(level)
			}
			return err
		},
		Get: func() string {
			if e.opts.Level == nil {
				return text(slog.LevelInfo)
			}
			return text(e.opts.Level.Level())
		},
	}
}
