package permissions

import (
	"embed"

	"sipr/core/database"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the steps by which the table trusted comes to be.
func Migrations() database.Migrations {
	return database.Migrations{Module: "permissions", FS: migrations}
}
