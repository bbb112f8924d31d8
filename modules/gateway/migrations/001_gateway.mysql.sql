CREATE TABLE IF NOT EXISTS gateway (
  id       INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  prefix   VARCHAR(64)  NOT NULL DEFAULT '',
  strip    INT          NOT NULL DEFAULT 0,
  prepend  VARCHAR(64)  NOT NULL DEFAULT '',
  target   VARCHAR(255) NOT NULL,
  priority INT          NOT NULL DEFAULT 0,
  weight   INT          NOT NULL DEFAULT 1,
  flags    INT          NOT NULL DEFAULT 1,
  KEY gateway_prefix (prefix)
) DEFAULT CHARSET = utf8mb4;
