// Package acc is the module that records calls.
//
// Each event of a call (answered, missed, failed, ended) becomes one row of
// the table acc at once, so that a crash or a lost BYE does not lose the call.
// A call that was answered is kept in memory besides; its end writes one row
// of the table cdr, under the record id of the event that answered it. A call
// whose BYE never comes ends as "lost" after max_call_time. After a restart
// the calls that are still open are read back from acc.
//
// Records also go, or only go, to a file of JSON lines.
//
// Nothing of this holds up a message: records wait in a bounded queue for one
// writer. While the database fails they wait for it, or go to the spool file
// if there is one; what finds no room is counted as lost.
package acc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipr/core"
	"sipr/core/sipmsg"
)

// Module is the acc module.
type Module struct {
	useDB         bool
	dbURL         string
	accTable      string
	cdrTable      string
	jsonFile      string
	spoolFile     string
	queueSize     int
	accounting    string
	logFailed     bool
	logMethods    string
	maxCalls      int
	maxCallTime   time.Duration
	retryInterval time.Duration

	host    core.Host
	mode    mode
	methods [sipmsg.UPDATE + 1]bool
	attrs   attrRefs
	pool    sync.Pool // of *record

	prefix string // of the record ids of this process
	serial atomic.Uint64

	calls  calls
	json   *jsonFile
	store  *store
	writer *writer

	records, lost, callsOpen, callsFull *core.Counter
	reported                            int64 // how many of lost were logged
}

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Reloader   = (*Module)(nil)
	_ core.Stopper    = (*Module)(nil)
)

// New returns the module with its defaults.
func New() core.Module {
	m := &Module{
		useDB: true, accTable: "acc", cdrTable: "cdr", queueSize: 10000, accounting: "calls",
		maxCalls: 100000, maxCallTime: 24 * time.Hour, retryInterval: time.Second,
	}
	m.pool.New = func() any { return new(record) }
	return m
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:    "acc",
		Summary: "Records calls in the database and in JSON files.",
		Also:    []string{"acc_db", "acc_json", "cdr"},
		Params: []core.Param{
			core.BoolParam(&m.useDB, "use_db", "whether records go to the database"),
			core.SecretParam(&m.dbURL, "db_url", "the database; empty for core's db_url"),
			core.StringParam(&m.accTable, "acc_table", "the table of events", core.Identifier),
			core.StringParam(&m.cdrTable, "cdr_table", "the table of calls", core.Identifier),
			core.StringParam(&m.jsonFile, "json_file", "a file that records are appended to as JSON lines; \"-\" is the standard output, empty is off"),
			core.StringParam(&m.spoolFile, "spool_file", "a file for records that the database did not take, which are caught up later; empty is off"),
			core.IntParam(&m.queueSize, "queue_size", "how many records may wait for the writer, and as many again for the database", core.Between(1, 10000000)),
			core.StringParam(&m.accounting, "accounting", "what is recorded unless do_accounting says otherwise: off, calls (answered calls), missed (and calls that the callee missed), failed (and all failed calls) or all (every transaction)", checkMode),
			core.BoolParam(&m.logFailed, "failed_transactions", "whether failed transactions are recorded too, as accounting = \"failed\" does"),
			core.StringParam(&m.logMethods, "log_methods", "further methods whose transactions are recorded, divided by commas, such as \"MESSAGE,REFER\"", checkMethods),
			core.IntParam(&m.maxCalls, "max_calls", "how many open calls are remembered; further ones have events but no call record", core.Between(1, 100000000)),
			core.DurationParam(&m.maxCallTime, time.Second, "max_call_time", "after what time a call without BYE is closed as lost", core.Between(time.Minute, 365*24*time.Hour)),
			core.DurationParam(&m.retryInterval, time.Second, "retry_interval", "after what time a failed database is tried again; the time doubles up to one minute", core.Between(100*time.Millisecond, time.Minute)),
		},
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

func checkMethods(s string) error {
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" && sipmsg.LookupMethod(name) == sipmsg.MethodOther {
			return fmt.Errorf("%q is not a method that can be recorded: names such as MESSAGE, divided by commas, are expected", name)
		}
	}
	return nil
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.host = h
	if !m.useDB && m.jsonFile == "" {
		return errors.New("records would go nowhere: set use_db to true or json_file to a file name")
	}
	if !m.useDB && m.spoolFile != "" {
		return errors.New("spool_file is for a database that fails, but use_db is false")
	}
	m.mode, _ = parseMode(m.accounting)
	for name := range strings.SplitSeq(m.logMethods, ",") {
		if id := sipmsg.LookupMethod(strings.TrimSpace(name)); id != sipmsg.MethodOther {
			m.methods[id] = true
		}
	}
	m.attrs = newAttrRefs()
	m.records, m.lost = h.Counter("records"), h.Counter("lost")
	m.callsOpen, m.callsFull = h.Counter("calls").Level(), h.Counter("calls_full")
	m.calls.init(m.maxCalls, m.callsOpen)
	h.OnFinal(m.onFinal)
	h.Every(time.Minute, m.minute)
	return nil
}

// Start implements core.Starter.
func (m *Module) Start(ctx context.Context) (err error) {
	if m.prefix == "" {
		var id [8]byte
		rand.Read(id[:])
		m.prefix = hex.EncodeToString(id[:])
	}
	defer func() {
		if err != nil && m.json != nil {
			m.json.close()
		}
	}()
	if m.jsonFile != "" {
		name := m.jsonFile
		if name != "-" {
			name = m.host.Path(name)
		}
		if m.json, err = openJSON(name); err != nil {
			return err
		}
	}
	if m.useDB {
		if m.store, err = openStore(ctx, m); err != nil {
			return err
		}
		if err = m.restore(ctx); err != nil {
			return err
		}
	}
	m.writer = newWriter(m)
	go m.writer.run()
	return nil
}

// Reload implements core.Reloader: it opens the JSON file anew.
func (m *Module) Reload(context.Context) error {
	if m.json == nil {
		return nil
	}
	return m.json.reopen()
}

// Stop implements core.Stopper: it writes what waits, as long as ctx lets it.
// What the database does not take goes to the spool file, if there is one.
func (m *Module) Stop(ctx context.Context) error {
	if !m.useDB {
		// No later start can read the open calls back. The writer is still
		// running, so there is room as soon as it has caught up.
		now := m.host.Clock().Now()
		for r := m.calls.popAll(); r != nil; {
			next := r.next
			if !r.silent {
				r.finish(now, "stopped", "")
				select {
				case m.writer.queue <- r:
				case <-ctx.Done():
					m.lost.Add(1)
				}
			}
			r = next
		}
	}
	err := m.writer.stop(ctx)
	if m.json != nil {
		m.json.close()
	}
	return err
}

// minute closes calls that have lasted too long, and says in the log what was
// lost.
func (m *Module) minute(context.Context) {
	now := m.host.Clock().Now()
	for {
		r := m.calls.popOlder(now.Add(-m.maxCallTime))
		if r == nil {
			break
		}
		m.end(r, now, "lost", "")
	}
	if n := m.lost.Load(); n > m.reported {
		m.host.Log().Error("accounting records were lost: no room for them to wait", "lost", n-m.reported, "queue_size", m.queueSize)
		m.reported = n
	}
}
