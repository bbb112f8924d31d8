-- One row for each event of a call or transaction. Times are UTC.
CREATE TABLE IF NOT EXISTS acc (
  id          INTEGER PRIMARY KEY,
  ruid        TEXT     NOT NULL UNIQUE,
  time        DATETIME NOT NULL,
  setup_ms    INTEGER  NOT NULL DEFAULT 0,
  event       TEXT     NOT NULL,
  method      TEXT     NOT NULL DEFAULT '',
  code        INTEGER  NOT NULL DEFAULT 0,
  reason      TEXT     NOT NULL DEFAULT '',
  call_id     TEXT     NOT NULL DEFAULT '',
  from_tag    TEXT     NOT NULL DEFAULT '',
  to_tag      TEXT     NOT NULL DEFAULT '',
  from_uri    TEXT     NOT NULL DEFAULT '',
  to_uri      TEXT     NOT NULL DEFAULT '',
  request_uri TEXT     NOT NULL DEFAULT '',
  from_uid    TEXT     NOT NULL DEFAULT '',
  from_did    TEXT     NOT NULL DEFAULT '',
  to_uid      TEXT     NOT NULL DEFAULT '',
  to_did      TEXT     NOT NULL DEFAULT '',
  src_ip      TEXT     NOT NULL DEFAULT '',
  comment     TEXT     NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS acc_time ON acc (time);
CREATE INDEX IF NOT EXISTS acc_call_id ON acc (call_id);
-- One row for each call that was answered; ruid is that of its event.
CREATE TABLE IF NOT EXISTS cdr (
  id          INTEGER PRIMARY KEY,
  ruid        TEXT     NOT NULL UNIQUE,
  start_time  DATETIME NOT NULL,
  answer_time DATETIME NOT NULL,
  end_time    DATETIME NOT NULL,
  duration_ms INTEGER  NOT NULL,
  end_reason  TEXT     NOT NULL,
  ended_by    TEXT     NOT NULL DEFAULT '',
  method      TEXT     NOT NULL DEFAULT '',
  code        INTEGER  NOT NULL DEFAULT 0,
  reason      TEXT     NOT NULL DEFAULT '',
  call_id     TEXT     NOT NULL DEFAULT '',
  from_tag    TEXT     NOT NULL DEFAULT '',
  to_tag      TEXT     NOT NULL DEFAULT '',
  from_uri    TEXT     NOT NULL DEFAULT '',
  to_uri      TEXT     NOT NULL DEFAULT '',
  request_uri TEXT     NOT NULL DEFAULT '',
  from_uid    TEXT     NOT NULL DEFAULT '',
  from_did    TEXT     NOT NULL DEFAULT '',
  to_uid      TEXT     NOT NULL DEFAULT '',
  to_did      TEXT     NOT NULL DEFAULT '',
  src_ip      TEXT     NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS cdr_start_time ON cdr (start_time);
CREATE INDEX IF NOT EXISTS cdr_call_id ON cdr (call_id);
