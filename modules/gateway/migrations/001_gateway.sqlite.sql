CREATE TABLE IF NOT EXISTS gateway (
  id       INTEGER PRIMARY KEY,
  prefix   TEXT    NOT NULL DEFAULT '',
  strip    INTEGER NOT NULL DEFAULT 0,
  prepend  TEXT    NOT NULL DEFAULT '',
  target   TEXT    NOT NULL,
  priority INTEGER NOT NULL DEFAULT 0,
  weight   INTEGER NOT NULL DEFAULT 1,
  flags    INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS gateway_prefix ON gateway (prefix);
