-- User names compare byte by byte.
CREATE TABLE IF NOT EXISTS uri (
	id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
	uid VARCHAR(64) NOT NULL,
	did VARCHAR(64) NOT NULL,
	username VARCHAR(128) NOT NULL,
	scheme VARCHAR(8) NOT NULL DEFAULT 'sip',
	flags INT UNSIGNED NOT NULL DEFAULT 25,
	UNIQUE KEY uri_aor (did, username, scheme),
	KEY uri_uid (uid)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
