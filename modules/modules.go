// Package modules lists the modules that this sipr is built with.
package modules

import (
	"sipr/core"
	"sipr/core/database"
	"sipr/modules/acc"
	"sipr/modules/attrs"
	"sipr/modules/auth"
	"sipr/modules/domain"
	"sipr/modules/gateway"
	"sipr/modules/permissions"
	"sipr/modules/registrar"
	"sipr/modules/rr"
	"sipr/modules/tm"
	"sipr/modules/users"
)

// All returns a constructor for each module. It is the only list of them.
func All() []func() core.Module {
	return []func() core.Module{
		tm.New, rr.New, domain.New, users.New, attrs.New, auth.New, permissions.New,
		registrar.New, gateway.New, acc.New,
	}
}

// Migrations returns the schemas of the modules that have tables.
func Migrations() []database.Migrations {
	return []database.Migrations{
		domain.Migrations(), users.Migrations(), attrs.Migrations(), auth.Migrations(), permissions.Migrations(),
		registrar.Migrations(), gateway.Migrations(), acc.Migrations(),
	}
}
