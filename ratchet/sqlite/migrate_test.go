package sqlite_test

import (
	"testing"

	"pawl/ratchet/sqlite"
)

// TestMigrationsAreInOrder: they lead from the first schema to that of this pawl, one version a step.
func TestMigrationsAreInOrder(t *testing.T) {
	t.Parallel()
	version := 1
	for _, to := range sqlite.Migrations() {
		if to != version+1 {
			t.Errorf("a migration leads from version %d to %d", version, to)
		}
		version = to
	}
	if version != sqlite.SchemaVersion {
		t.Errorf("the migrations lead to version %d, this pawl writes %d", version, sqlite.SchemaVersion)
	}
}
