package domain

import (
	"embed"

	"sipr/core/database"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the steps by which the tables domain and domain_attrs
// come to be.
func Migrations() database.Migrations {
	return database.Migrations{Module: "domain", FS: migrations}
}
