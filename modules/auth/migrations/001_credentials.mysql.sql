-- HA1 values are hashes of user:realm:password in hex; "" where there is none.
-- User names and realms are compared byte by byte, as the hashes are.
CREATE TABLE IF NOT EXISTS credentials (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  auth_username VARCHAR(64) NOT NULL,
  did VARCHAR(64) NOT NULL DEFAULT '',
  realm VARCHAR(128) NOT NULL,
  flags INT UNSIGNED NOT NULL DEFAULT 1,
  ha1 VARCHAR(32) NOT NULL DEFAULT '',
  ha1_sha256 VARCHAR(64) NOT NULL DEFAULT '',
  ha1_sha512_256 VARCHAR(64) NOT NULL DEFAULT '',
  uid VARCHAR(64) NOT NULL,
  UNIQUE KEY credentials_user_realm (auth_username, realm),
  KEY credentials_uid (uid)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
