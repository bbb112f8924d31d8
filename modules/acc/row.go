package acc

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"sipr/core/clock"
)

// row is a record as it is written: a line of JSON, or a row of a table whose
// columns have the same names.
type row struct {
	Type       string `json:"type"` // event or call
	RUID       string `json:"ruid"`
	Event      string `json:"event,omitempty"`
	Time       string `json:"time,omitempty"`
	SetupMS    *int64 `json:"setup_ms,omitempty"`
	StartTime  string `json:"start_time,omitempty"`
	AnswerTime string `json:"answer_time,omitempty"`
	EndTime    string `json:"end_time,omitempty"`
	DurationMS *int64 `json:"duration_ms,omitempty"`
	EndReason  string `json:"end_reason,omitempty"`
	EndedBy    string `json:"ended_by,omitempty"`
	Method     string `json:"method"`
	Code       int    `json:"code"`
	Reason     string `json:"reason"`
	CallID     string `json:"call_id"`
	FromTag    string `json:"from_tag"`
	ToTag      string `json:"to_tag"`
	FromURI    string `json:"from_uri"`
	ToURI      string `json:"to_uri"`
	RequestURI string `json:"request_uri"`
	FromUID    string `json:"from_uid"`
	FromDID    string `json:"from_did"`
	ToUID      string `json:"to_uid"`
	ToDID      string `json:"to_did"`
	SrcIP      string `json:"src_ip"`
	Comment    string `json:"comment,omitempty"`
}

const (
	typeEvent = "event"
	typeCall  = "call"
	// The times are UTC with milliseconds: in JSON by RFC 3339, in SQL as
	// both dialects compare and show it.
	jsonTime = "2006-01-02T15:04:05.000Z"
	sqlTime  = "2006-01-02 15:04:05.000"
)

// row makes r fit to be written; it does not keep r.
func (r *record) row() *row {
	text := func(f field) string { return strings.ToValidUTF8(string(r.get(f)), "?") }
	w := &row{
		RUID: text(fID), Method: text(fMethod), Code: r.code, Reason: text(fReason),
		CallID: text(fCallID), FromTag: text(fFromTag), ToTag: text(fToTag),
		FromURI: text(fFromURI), ToURI: text(fToURI), RequestURI: text(fRequestURI),
		FromUID: text(fFromUID), FromDID: text(fFromDID), ToUID: text(fToUID), ToDID: text(fToDID),
		Comment: text(fComment), EndReason: text(fEndReason), EndedBy: text(fEndedBy),
	}
	if r.src.IsValid() {
		w.SrcIP = r.src.WithZone("").String()
	}
	if r.kind == call {
		w.Type = typeCall
		w.StartTime, w.AnswerTime, w.EndTime = stamp(r.start), stamp(r.time), stamp(r.end)
		w.DurationMS = millis(r.end.Sub(r.time))
		return w
	}
	w.Type, w.Event, w.Time = typeEvent, kindNames[r.kind], stamp(r.time)
	w.SetupMS = millis(r.time.Sub(r.start))
	return w
}

func stamp(t clock.Time) string { return t.Std().Format(jsonTime) }

func millis(d time.Duration) *int64 {
	n := max(d.Milliseconds(), 0)
	return &n
}

// appendLine appends w to buf as one line of JSON.
func (w *row) appendLine(buf *bytes.Buffer) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	return enc.Encode(w)
}

// sqlStamp turns a time of JSON into one of SQL.
func sqlStamp(s string) string {
	return strings.TrimSuffix(strings.Replace(s, "T", " ", 1), "Z")
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// common are the columns that both tables have.
const common = "method, code, reason, call_id, from_tag, to_tag, from_uri, to_uri, request_uri, from_uid, from_did, to_uid, to_did, src_ip"

// The columns of the tables, in the order of args.
const (
	eventColumns = "ruid, time, setup_ms, event, comment, " + common
	callColumns  = "ruid, start_time, answer_time, end_time, duration_ms, end_reason, ended_by, " + common
)

// args returns the values of w's columns.
func (w *row) args() []any {
	var a []any
	if w.Type == typeCall {
		a = []any{w.RUID, sqlStamp(w.StartTime), sqlStamp(w.AnswerTime), sqlStamp(w.EndTime),
			value(w.DurationMS), w.EndReason, w.EndedBy}
	} else {
		a = []any{w.RUID, sqlStamp(w.Time), value(w.SetupMS), w.Event, w.Comment}
	}
	return append(a, w.Method, w.Code, w.Reason, w.CallID, w.FromTag, w.ToTag, w.FromURI, w.ToURI,
		w.RequestURI, w.FromUID, w.FromDID, w.ToUID, w.ToDID, w.SrcIP)
}
