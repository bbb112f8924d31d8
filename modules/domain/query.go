package domain

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// each runs a query and gives its rows to f, which must not keep the slice.
func (s *store) each(ctx context.Context, table, query string, args []any, columns int, f func([]cell)) error {
	rows, err := s.query(ctx, table, query, args)
	if err != nil {
		return err
	}
	defer rows.Close()
	cells := make([]cell, columns)
	dest := pointers(cells)
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return s.failed(table, err)
		}
		f(cells)
	}
	if err := rows.Err(); err != nil {
		return s.failed(table, err)
	}
	return nil
}

// batchRows is how many rows pass from the goroutine that reads a table to the
// one that uses them at a time.
const batchRows = 256

// stream is each for whole tables: a goroutine of its own reads ahead, which
// makes use of a second processor where there is one. It has ended when stream
// returns.
func (s *store) stream(ctx context.Context, table, query string, columns int, f func([]cell)) error {
	full, empty := make(chan []cell, 2), make(chan []cell, 2)
	for range cap(empty) {
		empty <- make([]cell, 0, batchRows*columns)
	}
	result := make(chan error, 1)
	go func() {
		defer close(full)
		batch := <-empty
		err := s.each(ctx, table, query, nil, columns, func(row []cell) {
			batch = append(batch, row...)
			if len(batch) == cap(batch) {
				full <- batch
				batch = <-empty
			}
		})
		full <- batch
		result <- err
	}()
	for batch := range full {
		for row := batch; len(row) > 0; row = row[columns:] {
			f(row[:columns])
		}
		empty <- batch[:0]
	}
	return <-result
}

func (s *store) query(ctx context.Context, table, query string, args []any) (*sqlx.Rows, error) {
	s.queries.Add(1)
	rows, err := s.db.QueryxContext(ctx, query, args...)
	if err != nil {
		return nil, s.failed(table, err)
	}
	return rows, nil
}

func (s *store) failed(table string, err error) error {
	return fmt.Errorf("database %s: read table %s: %w", s.db.Name, table, err)
}

func pointers(cells []cell) []any {
	p := make([]any, len(cells))
	for i := range cells {
		p[i] = &cells[i]
	}
	return p
}
