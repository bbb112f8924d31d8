package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"sipr/core/database"
	"sipr/lua"
)

// options are the flags that subcommands share.
type options struct {
	file   string // of the settings
	db     string // URL of the database, instead of the one in the settings
	output string // text or json
	quiet  bool   // a running router is not told of changes
	// schema is what the database has to have.
	schema []database.Migrations
}

// flags adds the flags that every subcommand takes.
func (o *options) flags(root *cobra.Command) {
	root.PersistentFlags().StringVarP(&o.file, "file", "f", "etc/sipr.lua", "settings")
	root.PersistentFlags().StringVar(&o.db, "db", "", "URL of the database, instead of the one in the settings")
}

// databaseURL returns the URL of the database and the folder that relative
// file names in it are relative to.
func (o *options) databaseURL() (url, dir string, err error) {
	if o.db != "" {
		return o.db, ".", nil
	}
	url, err = o.setting("db_url")
	if err == nil && url == "" {
		err = settingsError(fmt.Errorf("%s sets no db_url: add modparam(\"core\", \"db_url\", \"sqlite:sipr.db\"), or use --db", o.file))
	}
	return url, filepath.Dir(o.file), err
}

// setting returns a parameter of the module core as the settings give it, ""
// if they do not.
func (o *options) setting(name string) (string, error) {
	s, err := lua.LoadSettings(o.file)
	if err != nil {
		return "", settingsError(err)
	}
	value := ""
	for _, p := range s.Params {
		if p.Module == "core" && p.Name == name {
			value = fmt.Sprint(p.Value)
		}
	}
	return value, nil
}

// database opens the database, which has to answer.
func (o *options) database(ctx context.Context) (*database.DB, error) {
	url, dir, err := o.databaseURL()
	if err != nil {
		return nil, err
	}
	db, err := database.OpenURL(ctx, url, dir)
	return db, connectError(err)
}
