package main

func watermark() []sabotage {
	return []sabotage{
		{
			name: "equal-slot-overwritten", // >= in the upsert
			file: "ratchet/place.go",
			old:  "   AND (?4, ?5) > (level, round)",
			new:  "   AND (?4, ?5) >= (level, round)",
			pkg:  "./ratchet", test: "TestTransactionDecides",
		},
		{
			name: "round-ignored",
			file: "ratchet/place.go",
			old:  "   AND (?4, ?5) > (level, round)",
			new:  "   AND (?4, 0*?5) > (level, 0)",
			pkg:  "./ratchet", test: "TestTransactionDecides",
		},
		{
			name: "fresh-signature-released", // on an equal digest
			file: "ratchet/place.go",
			old:  "\t\treturn outcome{release: Release{Signature: *stored, Stored: true}}, nil",
			new:  "\t\treturn outcome{release: Release{Signature: p.signature, Stored: true}}, nil",
			pkg:  "./ratchet", test: "TestEqualDigestDropsFreshSignature",
		},
		{
			name: "other-bytes-get-the-stored",
			file: "ratchet/standing.go",
			old:  "\tcase r.digest != d:",
			new:  "\tcase r.digest != d && false:",
			pkg:  "./ratchet", test: "TestTransactionDecides",
		},
	}
}

func registration() []sabotage {
	return []sabotage{
		{
			name: "no-registration-check",
			file: "ratchet/standing.go",
			old:  "\tcase !s.registered:",
			new:  "\tcase !s.registered && false:",
			pkg:  "./ratchet", test: "TestUnregisteredIsRefused",
		},
		{
			name: "unregistered-key-starts",
			file: "internal/daemon/open.go",
			old:  "\t\t\tregistered[at{db, row.Key}] = true",
			new:  "\t\t\tfor _, any := range d.dbs {\n\t\t\t\tregistered[at{any, row.Key}] = true\n\t\t\t}",
			pkg:  "./signer", test: "TestOpenRefuses",
		},
		{
			name: "no-level-gap",
			file: "ratchet/standing.go",
			old:  "\tif known && int64(m.Level)-int64(base) > int64(maxGap) {",
			new:  "\tif known && m.Level-base > maxGap && false {",
			pkg:  "./ratchet", test: "TestFloorAndGap",
		},
		{
			name: "no-floor",
			file: "ratchet/standing.go",
			old:  "\tcase s.floor.Valid && m.Level < s.floor.V:",
			new:  "\tcase s.floor.Valid && m.Level < s.floor.V && false:",
			pkg:  "./ratchet", test: "TestFloorAndGap",
		},
		{
			name: "no-floor-in-transaction",
			file: "ratchet/place.go",
			old:  "                  AND ?4 >= ifnull(r.from_level, 0)",
			new:  "                  AND ?4 >= 0",
			pkg:  "./ratchet", test: "TestFloorAndGap",
		},
		{
			name: "no-gap-in-transaction",
			file: "ratchet/place.go",
			old:  "                  AND ?4 - max(marks.level, ifnull(r.from_level, 0)) <= ?8)`",
			new:  "                  AND 0*?8 = 0)`",
			pkg:  "./ratchet", test: "TestFloorAndGap",
		},
	}
}

func flights() []sabotage {
	return []sabotage{
		{
			name: "callers-context-in-flight",
			file: "ratchet/sign.go",
			old:  "ctx: context.WithoutCancel(ctx), landed:",
			new:  "ctx: ctx, landed:",
			pkg:  "./ratchet", test: "TestCallerWhoLeavesChangesNothing",
		},
		{
			name: "queue-without-end",
			file: "ratchet/sign.go",
			old:  "\t\tif len(l.waiting) >= maxWaiting {",
			new:  "\t\tif len(l.waiting) >= maxWaiting+1 {",
			pkg:  "./ratchet", test: "TestQueueHoldsEightOtherPayloads",
		},
	}
}

func commits() []sabotage {
	return []sabotage{
		{
			name: "answer-before-commit",
			file: "ratchet/writer.go",
			old:  "\tdb.settle(db.writer.batch())",
			new:  "\tgo func() { db.settle(db.writer.batch()); db.writer.leave() }()\n\tif true { return nil }",
			pkg:  "./ratchet", test: "TestNothingLeavesBeforeCommit",
		},
		{
			name: "failed-commit-released",
			file: "ratchet/transact.go",
			old:  "\tif err := db.commit(ctx); err != nil {",
			new:  "\tif err := db.commit(ctx); err != nil && !definite(err) {",
			pkg:  "./ratchet", test: "TestDefiniteNoStaysUp",
		},
		{
			name: "unknown-outcome-goes-on",
			file: "ratchet/transact.go",
			old:  "\tif definite(err) && db.rolledBack() {",
			new:  "\tif definite(err) || db.rolledBack() {",
			pkg:  "./ratchet", test: "TestUnknownOutcomeEndsAllReleases",
		},
		{
			name: "panic-forgotten",
			file: "ratchet/transact.go",
			old:  "\t\t*err = db.fail(fmt.Errorf(\"panic: %v\\n%s\", value, debug.Stack()))",
			new:  "\t\t*err = fmt.Errorf(\"panic: %v\\n%s\", value, debug.Stack())",
			pkg:  "./ratchet", test: "TestPanicIsAFailure",
		},
		{
			name: "failed-rest-forgotten",
			file: "ratchet/rest.go",
			old:  "\t\terr = db.verdict(err)",
			new:  "\t\t_ = db.verdict",
			pkg:  "./ratchet", test: "TestRestEndsWithAFailure",
		},
		{
			name: "no-stat-after-commit",
			file: "ratchet/transact.go",
			old:  "\tif err := db.inPlace(); err != nil {",
			new:  "\tif err := db.inPlace(); err != nil && false {",
			pkg:  "./ratchet", test: "TestFileMovedWhileOpen",
		},
	}
}

func files() []sabotage {
	return []sabotage{
		{
			name: "synchronous-normal",
			file: "ratchet/sqlite.go",
			old:  `		"&_synchronous=FULL"+`,
			new:  `		"&_synchronous=NORMAL"+`,
			pkg:  "./ratchet", test: "TestSettings",
		},
		{
			name: "journal-mode-in-open",
			file: "ratchet/sqlite.go",
			old:  `	return sourceOf(path, "mode=rw"+`,
			new:  `	return sourceOf(path, "mode=rw&_journal_mode=WAL"+`,
			pkg:  "./ratchet", test: "TestExclusiveFromTheFirstRead",
		},
		{
			name: "mode-rwc",
			file: "ratchet/sqlite.go",
			old:  `	return sourceOf(path, "mode=rw"+`,
			new:  `	return sourceOf(path, "mode=rwc"+`,
			pkg:  "./ratchet", test: "TestDataSourceNeverCreates",
		},
		{
			name: "lost-wal-accepted",
			file: "ratchet/provenance.go",
			old:  "\tcase wal == nil && !p.clean:",
			new:  "\tcase wal == nil && !p.clean && false:",
			pkg:  "./ratchet", test: "TestFileNotAsItWasLeft",
		},
		{
			name: "ratchet-overwritten",
			file: "ratchet/provenance.go",
			old:  "\tf, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)",
			new:  "\tf, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)",
			pkg:  "./ratchet", test: "TestCreateNeverOverwrites",
		},
		{
			name: "restored-backup-accepted",
			file: "ratchet/provenance.go",
			old:  "\tcase !p.database.is(database.identity):",
			new:  "\tcase !p.database.is(database.identity) && false:",
			pkg:  "./ratchet", test: "TestFileNotAsItWasLeft",
		},
		{
			name: "killed-amid-growth-refused",
			file: "ratchet/provenance.go",
			old:  "\tif _, err := pool.ExecContext(ctx, \"PRAGMA writable_schema = ON\"); err != nil {",
			new:  "\tif _, err := pool.ExecContext(ctx, \"PRAGMA writable_schema = OFF\"); err != nil {",
			pkg:  "./ratchet", test: "TestKillAmidGrowth",
		},
	}
}

// losses are of what was there and is not.

func losses() []sabotage {
	return []sabotage{
		{
			name: "emptied-wal-accepted",
			file: "ratchet/provenance.go",
			old:  "\tcase wal != nil && !p.clean && wal.size == 0 &&",
			new:  "\tcase wal != nil && !p.clean && wal.size < 0 &&",
			pkg:  "./ratchet", test: "TestFileNotAsItWasLeft",
		},
		{
			name: "right-note-written-again",
			file: "ratchet/provenance.go",
			old:  "\tif !readOpening(path).is(made.identity) {",
			new:  "\tif path != \"\" {",
			pkg:  "./ratchet", test: "TestKillOfTheNextOpening",
		},
		{
			name: "last-mark-not-missed",
			file: "ratchet/last.go",
			old:  "\tif said == nil {",
			new:  "\tif said == nil || db.path != \"\" {",
			pkg:  "./ratchet", test: "TestLastMarkIsMissed",
		},
		{
			name: "last-mark-not-noted",
			file: "ratchet/transact.go",
			old:  "\tif err := db.writeLast(batch); err != nil {",
			new:  "\tif err := db.writeLast(batch); err != nil && len(batch) == 0 {",
			pkg:  "./ratchet", test: "TestLastMarkThatCannotBeNoted",
		},
		{
			name: "damage-accepted",
			file: "ratchet/open.go",
			old:  "\tif result != \"ok\" {",
			new:  "\tif result == \"\" {",
			pkg:  "./ratchet", test: "TestDamageThatNoReadMeetsIsRefused",
		},
	}
}

func seals() []sabotage {
	return []sabotage{
		{
			name: "changed-mark-accepted",
			file: "ratchet/marks.go",
			old:  "\t\terr = m.checkSeal(seal)",
			new:  "\t\terr = m.checkSeal(m.seal())",
			pkg:  "./ratchet", test: "TestChangedRowIsRefused",
		},
		{
			name: "changed-registration-accepted",
			file: "ratchet/marks.go",
			old:  "\t\terr = r.checkSeal(seal)",
			new:  "\t\terr = r.checkSeal(r.seal())",
			pkg:  "./ratchet", test: "TestChangedRowIsRefused",
		},
		{
			name: "changed-mark-judges", // in the transaction
			file: "ratchet/standing.go",
			old:  "\treturn s, slotRow{m.slot(), r}.checkSeal(seal)",
			new:  "\treturn s, nil",
			pkg:  "./ratchet", test: "TestRowThatChangesWhileOpen",
		},
		{
			name: "seal-without-round",
			file: "ratchet/seal.go",
			old:  "uint32(m.round))",
			new:  "uint32(0*m.round))",
			pkg:  "./ratchet", test: "TestChangedRowIsRefused",
		},
	}
}

func locks() []sabotage {
	return []sabotage{
		{
			name: "second-daemon-on-a-file",
			file: "ratchet/filelock.go",
			old:  "\terr = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)",
			new:  "\terr = nil",
			pkg:  "./ratchet", test: "TestSecondOpenInThisProcess",
		},
		{
			name: "second-daemon-on-a-key",
			file: "ratchet/keylock.go",
			old:  "\tif errors.Is(err, syscall.EADDRINUSE) {",
			new:  "\tif errors.Is(err, syscall.EADDRINUSE) && false {",
			pkg:  "./ratchet", test: "TestKeyLock",
		},
	}
}
