CREATE TABLE IF NOT EXISTS user_attrs (
  id    INTEGER PRIMARY KEY AUTOINCREMENT,
  uid   VARCHAR(64) NOT NULL,
  name  VARCHAR(32) NOT NULL,
  type  INTEGER NOT NULL DEFAULT 0,
  value VARCHAR(255),
  flags INTEGER NOT NULL DEFAULT 0,
  UNIQUE (uid, name, value)
);

CREATE TABLE IF NOT EXISTS uri_attrs (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  username VARCHAR(64) NOT NULL,
  did      VARCHAR(64) NOT NULL,
  scheme   VARCHAR(8) NOT NULL DEFAULT 'sip',
  name     VARCHAR(32) NOT NULL,
  type     INTEGER NOT NULL DEFAULT 0,
  value    VARCHAR(255),
  flags    INTEGER NOT NULL DEFAULT 0,
  UNIQUE (username, did, scheme, name, value)
);

CREATE TABLE IF NOT EXISTS global_attrs (
  id    INTEGER PRIMARY KEY AUTOINCREMENT,
  name  VARCHAR(32) NOT NULL,
  type  INTEGER NOT NULL DEFAULT 0,
  value VARCHAR(255),
  flags INTEGER NOT NULL DEFAULT 0,
  UNIQUE (name, value)
);

-- type: raw_type is 2 for text and 0 for numbers, flags has 1024 for names that
-- may have several values.
CREATE TABLE IF NOT EXISTS attr_types (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  name          VARCHAR(32) NOT NULL,
  rich_type     VARCHAR(32) NOT NULL DEFAULT 'string',
  raw_type      INTEGER NOT NULL DEFAULT 2,
  type_spec     VARCHAR(255),
  description   VARCHAR(255),
  default_flags INTEGER NOT NULL DEFAULT 33,
  flags         INTEGER NOT NULL DEFAULT 0,
  priority      INTEGER NOT NULL DEFAULT 0,
  ordering      INTEGER NOT NULL DEFAULT 0,
  UNIQUE (name)
);

-- The attributes that the routing examples and the manual use.
INSERT OR IGNORE INTO attr_types (name, rich_type, raw_type, description, flags) VALUES
  ('digest_realm', 'string', 2, 'realm of digest challenges for the domain''s users', 0),
  ('fr_timer', 'int', 0, 'ms that a branch may stay without any response', 0),
  ('fr_inv_timer', 'int', 0, 'ms that a branch may ring', 0),
  ('gw_acl', 'string', 2, 'classes of numbers that the user may call', 1024),
  ('gw_ip', 'string', 2, 'gateway of the domain, host or host:port', 1024),
  ('asserted_id', 'string', 2, 'identity that the router asserts for the user', 0),
  ('rpid', 'string', 2, 'value of Remote-Party-ID for the user', 0),
  ('fwd_always_target', 'string', 2, 'URI that every call goes to', 0),
  ('fwd_busy_target', 'string', 2, 'URI that calls go to while the user is busy', 0),
  ('fwd_noanswer_target', 'string', 2, 'URI that calls go to that the user does not answer', 0);
