package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sipr/core/clock"
	"sipr/core/engine"
	"sipr/lua"
	"sipr/modules"
)

// runOptions are the flags of sipr run.
type runOptions struct {
	shared  *options
	level   string
	json    bool
	pidFile string
	profile string
}

func runCommand(o *options) *cobra.Command {
	x := &runOptions{shared: o}
	c := &cobra.Command{
		Use: "run", Short: "Serve in the foreground", Args: args(0, 0),
		Long: "Serve in the foreground until SIGTERM or SIGINT. SIGHUP reads the script and all data anew.",
		RunE: func(c *cobra.Command, _ []string) error { return x.run(c) },
	}
	c.Flags().StringVar(&x.level, "log-level", "info", "debug, info, warn or error")
	c.Flags().BoolVar(&x.json, "log-json", false, "write the log as JSON")
	c.Flags().StringVarP(&x.pidFile, "pid-file", "P", "", "write the process number to this file")
	c.Flags().StringVar(&x.profile, "cpu-profile", "", "write a CPU profile of the whole run to this file")
	return c
}

// settingsError gives an error of the settings its exit code.
func settingsError(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitSettings, err}
}

// newEngine makes a router of the settings without starting it.
func (o *options) newEngine(log *slog.Logger, level *slog.LevelVar) (*engine.Engine, error) {
	s, err := lua.LoadSettings(o.file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; -f names the settings file", err)
		}
		return nil, settingsError(err)
	}
	if o.db != "" {
		s.Params = append(s.Params, lua.ParamSetting{Pos: lua.Pos{File: "--db"}, Module: "core", Name: "db_url", Value: o.db})
	}
	e, err := engine.New(s, engine.Options{
		Modules: modules.All(), Clock: clock.NewReal(), Log: log, Level: level, Version: version(),
	})
	return e, settingsError(err)
}

func (x *runOptions) run(c *cobra.Command) error {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(x.level)); err != nil {
		return usageError("--log-level %q: debug, info, warn or error is expected", x.level)
	}
	log := slog.New(x.handler(c.ErrOrStderr(), level))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300) // a router's memory is mostly short-lived transactions
	}
	if x.profile != "" {
		f, err := os.Create(x.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	set := level.Level()
	e, err := x.shared.newEngine(log, level)
	if err != nil {
		return err
	}
	if c.Flags().Changed("log-level") { // it goes before the settings
		level.Set(set)
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	e.OnKill(cancel)
	if err := e.Start(ctx); err != nil {
		return err
	}
	if x.pidFile != "" {
		if err := os.WriteFile(x.pidFile, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
			return errors.Join(err, e.Stop(ctx))
		}
		defer os.Remove(x.pidFile)
	}
	var where []string
	for _, s := range e.Sockets() {
		where = append(where, strings.ToLower(s.Proto.String())+":"+s.Addr.String())
	}
	log.Info("serving", "version", version(), "listen", strings.Join(where, " "), "modules", strings.Join(e.Modules(), " "))
	x.hint(c.OutOrStdout(), where)
	return x.serve(ctx, e, log, hup)
}

// serve waits for signals.
func (x *runOptions) serve(ctx context.Context, e *engine.Engine, log *slog.Logger, hup <-chan os.Signal) error {
	for {
		select {
		case <-hup:
			if err := e.Reload(ctx); err != nil {
				log.Error("reload failed", "error", err)
			} else {
				log.Info("reloaded")
			}
		case <-ctx.Done():
			log.Info("stopping", "drain", e.DrainTime().String())
			stop, cancel := context.WithTimeout(context.Background(), e.DrainTime())
			defer cancel()
			again := make(chan os.Signal, 1) // a second signal stops at once
			signal.Notify(again, os.Interrupt, syscall.SIGTERM)
			go func() {
				select {
				case <-again:
					cancel()
				case <-stop.Done():
				}
			}()
			return e.Stop(stop)
		}
	}
}

func (x *runOptions) handler(w io.Writer, level slog.Leveler) slog.Handler {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().Round(time.Millisecond).String())
		}
		return a
	}}
	if x.json {
		return slog.NewJSONHandler(w, opts)
	}
	return slog.NewTextHandler(w, opts)
}

// hint tells whoever starts sipr at a terminal what to do next.
func (x *runOptions) hint(w io.Writer, where []string) {
	f, ok := w.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 && os.Getenv("SIPR_HINT") == "" {
		return
	}
	exe := os.Args[0]
	fmt.Fprintf(w, `
sipr serves on %s. In another terminal:

    %[2]s domain add example.com                    # a domain of yours
    %[2]s user add alice@example.com                # asks for a password
    %[2]s user add bob@example.com

Register two phones as alice@example.com and bob@example.com with this router as
their outbound proxy, and call sip:bob@example.com. %[2]s ctl registrar.dump shows
who is registered. Ctrl-C stops.

`, strings.Join(where, " and "), exe)
}
