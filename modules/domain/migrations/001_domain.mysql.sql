-- Dids and attributes compare byte by byte, names of domains in any letter case.
CREATE TABLE IF NOT EXISTS domain (
  id     INT UNSIGNED NOT NULL AUTO_INCREMENT,
  did    VARCHAR(64) NOT NULL,
  domain VARCHAR(128) COLLATE utf8mb4_general_ci NOT NULL,
  flags  INT UNSIGNED NOT NULL DEFAULT 0,
  PRIMARY KEY (id),
  UNIQUE KEY domain_idx (domain),
  KEY did_idx (did)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS domain_attrs (
  id    INT UNSIGNED NOT NULL AUTO_INCREMENT,
  did   VARCHAR(64) NULL,
  name  VARCHAR(32) NOT NULL,
  type  INT NOT NULL DEFAULT 0,
  value VARCHAR(255) NULL,
  flags INT UNSIGNED NOT NULL DEFAULT 0,
  PRIMARY KEY (id),
  UNIQUE KEY domain_attrs_idx (did, name, value),
  KEY domain_attrs_did (did, flags)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
