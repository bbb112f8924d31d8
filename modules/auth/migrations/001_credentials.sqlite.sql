-- HA1 values are hashes of user:realm:password in hex; "" where there is none.
CREATE TABLE IF NOT EXISTS credentials (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  auth_username VARCHAR(64) NOT NULL,
  did VARCHAR(64) NOT NULL DEFAULT '',
  realm VARCHAR(128) NOT NULL,
  flags INTEGER NOT NULL DEFAULT 1,
  ha1 VARCHAR(32) NOT NULL DEFAULT '',
  ha1_sha256 VARCHAR(64) NOT NULL DEFAULT '',
  ha1_sha512_256 VARCHAR(64) NOT NULL DEFAULT '',
  uid VARCHAR(64) NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS credentials_user_realm ON credentials (auth_username, realm);
CREATE INDEX IF NOT EXISTS credentials_uid ON credentials (uid);
