package main

func watermark() []sabotage {
	return []sabotage{
		{
			name: "equal-slot-overwritten", // >= in the upsert
			file: "ratchet/sqlite/place.go",
			old:  "   AND (?4, ?5) > (level, round)",
			new:  "   AND (?4, ?5) >= (level, round)",
			pkg:  "./ratchet/sqlite", test: "TestTransactionDecides",
		},
		{
			name: "round-ignored",
			file: "ratchet/sqlite/place.go",
			old:  "   AND (?4, ?5) > (level, round)",
			new:  "   AND (?4, 0*?5) > (level, 0)",
			pkg:  "./ratchet/sqlite", test: "TestTransactionDecides",
		},
		{
			name: "fresh-signature-released", // on an equal digest
			file: "ratchet/sqlite/place.go",
			old:  "\t\tp.release = ratchet.Release{Signature: *stored, Stored: true}",
			new:  "\t\tp.release = ratchet.Release{Signature: p.Signature, Stored: true}",
			pkg:  "./ratchet/sqlite", test: "TestEqualDigestDropsFreshSignature",
		},
		{
			name: "memory-told-the-fresh-signature",
			file: "ratchet/sqlite/place.go",
			old:  "db.memory.putMark(placing.row)",
			new:  "db.memory.putMark(placing.made)",
			pkg:  "./ratchet/sqlite", test: "TestStoredSignatureIsRemembered",
		},
		{
			name: "other-bytes-get-the-stored",
			file: "ratchet/standing.go",
			old:  "\tcase r.Digest != d:",
			new:  "\tcase r.Digest != d && false:",
			pkg:  "./ratchet/sqlite", test: "TestTransactionDecides",
		},
	}
}

func registration() []sabotage {
	return []sabotage{
		{
			name: "no-registration-check",
			file: "ratchet/standing.go",
			old:  "\tcase !s.Registered:",
			new:  "\tcase !s.Registered && false:",
			pkg:  "./ratchet/sqlite", test: "TestUnregisteredIsRefused",
		},
		{
			name: "unregistered-key-starts",
			file: "internal/daemon/open.go",
			old:  "\t\t\tregistered[at{r, row.Key}] = true",
			new:  "\t\t\tfor _, any := range d.ratchets {\n\t\t\t\tregistered[at{any, row.Key}] = true\n\t\t\t}",
			pkg:  "./internal/daemon", test: "TestOpenRefuses",
		},
		{
			name: "far-floor-registered",
			file: "ratchet/standing.go",
			old:  "\tcase known && s.Rise(r.FromLevel) > int64(maxGap):",
			new:  "\tcase known && s.Rise(r.FromLevel) > int64(maxGap) && false:",
			pkg:  "./ratchet/sqlite", test: "TestRegisterNear",
		},
		{
			name: "time-registered-as-first-level",
			file: "ratchet/standing.go",
			old:  "\tcase !known && r.FromLevel > MaxFirstLevel:",
			new:  "\tcase !known && r.FromLevel > MaxFirstLevel && false:",
			pkg:  "./ratchet/sqlite", test: "TestRegisterNear",
		},
		{
			name: "no-level-gap",
			file: "ratchet/standing.go",
			old:  "\tif known && int64(m.Level)-int64(base) > int64(maxGap) {",
			new:  "\tif known && int64(m.Level)-int64(base) > int64(maxGap) && false {",
			pkg:  "./ratchet/sqlite", test: "TestFloorAndGap",
		},
		{
			name: "no-floor",
			file: "ratchet/standing.go",
			old:  "\tcase s.HasFloor && m.Level < s.Floor:",
			new:  "\tcase s.HasFloor && m.Level < s.Floor && false:",
			pkg:  "./ratchet/sqlite", test: "TestFloorAndGap",
		},
		{
			name: "no-floor-in-transaction",
			file: "ratchet/sqlite/place.go",
			old:  "                  AND ?4 >= ifnull(r.from_level, 0)",
			new:  "                  AND ?4 >= 0",
			pkg:  "./ratchet/sqlite", test: "TestFloorAndGap",
		},
		{
			name: "no-gap-in-transaction",
			file: "ratchet/sqlite/place.go",
			old:  "                  AND (?4 - max(marks.level, ifnull(r.from_level, 0)) <= ?8 OR ` + near + `))`",
			new:  "                  AND 0*?8 = 0)`",
			pkg:  "./ratchet/sqlite", test: "TestFloorAndGap",
		},
	}
}

func flights() []sabotage {
	return []sabotage{
		{
			name: "callers-context-in-flight",
			file: "ratchet/flight.go",
			old:  "ctx: context.WithoutCancel(ctx), done:",
			new:  "ctx: ctx, done:",
			pkg:  "./ratchet", test: "TestCallerWhoLeavesChangesNothing",
		},
		{
			name: "queue-without-end",
			file: "ratchet/flight.go",
			old:  "\t\tif len(q.waiting) >= maxWaiting {",
			new:  "\t\tif len(q.waiting) >= maxWaiting+1 {",
			pkg:  "./ratchet", test: "TestQueueHoldsEightOtherPayloads",
		},
		{
			name: "placed-after-a-failure",
			file: "ratchet/flight.go",
			old:  "\tif r.Err() != nil {\n\t\tr.dropped.Add(1)\n",
			new:  "\tif r.Err() != nil && false {\n\t\tr.dropped.Add(1)\n",
			pkg:  "./ratchet", test: "TestNothingIsPlacedAfterAFailure",
		},
		{
			name: "late-unknown-outcome-goes-on", // of a store that closes Failed later
			file: "ratchet/flight.go",
			old:  "\t\tr.fail(err)\n\t}\n\tif err != nil ||",
			new:  "\t}\n\tif err != nil ||",
			pkg:  "./ratchet", test: "TestUnknownOutcomeEndsAll",
		},
	}
}

func commits() []sabotage {
	return []sabotage{
		{
			name: "answer-before-commit",
			file: "ratchet/sqlite/writer.go",
			old:  "\tdb.commitBatch(db.writer.batch())",
			new:  "\tgo func() { db.commitBatch(db.writer.batch()); db.writer.leave() }()\n\tif true { return nil }",
			pkg:  "./ratchet/sqlite", test: "TestNothingLeavesBeforeCommit",
		},
		{
			name: "failed-commit-released",
			file: "ratchet/sqlite/transact.go",
			old:  "\tif err := db.commit(ctx); err != nil {",
			new:  "\tif err := db.commit(ctx); err != nil && !definite(err) {",
			pkg:  "./ratchet/sqlite", test: "TestDefiniteNoStaysUp",
		},
		{
			name: "unknown-outcome-goes-on",
			file: "ratchet/sqlite/transact.go",
			old:  "\tif definite(err) && db.rolledBack() {",
			new:  "\tif definite(err) || db.rolledBack() {",
			pkg:  "./ratchet/sqlite", test: "TestUnknownOutcomeEndsAllReleases",
		},
		{
			name: "panic-forgotten",
			file: "ratchet/sqlite/transact.go",
			old:  "\t\t*err = db.fail(fmt.Errorf(\"panic: %v\\n%s\", value, debug.Stack()))",
			new:  "\t\t*err = fmt.Errorf(\"panic: %v\\n%s\", value, debug.Stack())",
			pkg:  "./ratchet/sqlite", test: "TestPanicIsAFailure",
		},
		{
			name: "failed-checkpoint-forgotten",
			file: "ratchet/sqlite/idle.go",
			old:  "\t\terr = db.settle(err)",
			new:  "\t\t_ = db.settle",
			pkg:  "./ratchet/sqlite", test: "TestIdleCheckpointThatFails",
		},
		{
			name: "split-batch-ends-trouble",
			file: "ratchet/sqlite/transact.go",
			old:  "!single && wroteIn(batch)",
			new:  "wroteIn(batch)",
			pkg:  "./ratchet/sqlite", test: "TestSplitBatchIsNoProof",
		},
		{
			name: "no-stat-after-commit",
			file: "ratchet/sqlite/transact.go",
			old:  "\tif err := db.inPlace(); err != nil {",
			new:  "\tif err := db.inPlace(); err != nil && false {",
			pkg:  "./ratchet/sqlite", test: "TestFileMovedWhileOpen",
		},
	}
}

func files() []sabotage {
	return []sabotage{
		{
			name: "synchronous-normal",
			file: "ratchet/sqlite/sqlite.go",
			old:  `		"&_synchronous=FULL"+`,
			new:  `		"&_synchronous=NORMAL"+`,
			pkg:  "./ratchet/sqlite", test: "TestSettings",
		},
		{
			name: "journal-mode-in-open",
			file: "ratchet/sqlite/sqlite.go",
			old:  `	return sourceOf(path, "mode=rw"+`,
			new:  `	return sourceOf(path, "mode=rw&_journal_mode=WAL"+`,
			pkg:  "./ratchet/sqlite", test: "TestExclusiveFromTheFirstRead",
		},
		{
			name: "mode-rwc",
			file: "ratchet/sqlite/sqlite.go",
			old:  `	return sourceOf(path, "mode=rw"+`,
			new:  `	return sourceOf(path, "mode=rwc"+`,
			pkg:  "./ratchet/sqlite", test: "TestDataSourceNeverCreates",
		},
		{
			name: "lost-wal-accepted",
			file: "ratchet/sqlite/provenance.go",
			old:  "\tcase wal == nil && !p.clean:",
			new:  "\tcase wal == nil && !p.clean && false:",
			pkg:  "./ratchet/sqlite", test: "TestFileNotAsItWasLeft",
		},
		{
			name: "ratchet-overwritten",
			file: "ratchet/sqlite/provenance.go",
			old:  "\tf, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)",
			new:  "\tf, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)",
			pkg:  "./ratchet/sqlite", test: "TestCreateNeverOverwrites",
		},
		{
			name: "restored-backup-accepted",
			file: "ratchet/sqlite/provenance.go",
			old:  "\tif !p.database.is(database.identity) {",
			new:  "\tif !p.database.is(database.identity) && true == false {",
			pkg:  "./ratchet/sqlite", test: "TestFileNotAsItWasLeft",
		},
		{
			name: "killed-amid-growth-refused",
			file: "ratchet/sqlite/provenance.go",
			old:  "\tif _, err := pool.ExecContext(ctx, \"PRAGMA writable_schema = ON\"); err != nil {",
			new:  "\tif _, err := pool.ExecContext(ctx, \"PRAGMA writable_schema = OFF\"); err != nil {",
			pkg:  "./ratchet/sqlite", test: "TestKillAmidGrowth",
		},
	}
}

// losses are of what was there and is not.

func losses() []sabotage {
	return []sabotage{
		{
			name: "emptied-wal-accepted",
			file: "ratchet/sqlite/provenance.go",
			old:  "\tcase wal != nil && !p.clean && wal.size == 0:",
			new:  "\tcase wal != nil && !p.clean && wal.size == 0 && false:",
			pkg:  "./ratchet/sqlite", test: "TestFileNotAsItWasLeft",
		},
		{
			name: "right-note-written-again",
			file: "ratchet/sqlite/provenance.go",
			old:  "\tif !readOpening(path).is(made.identity) {",
			new:  "\tif path != \"\" {",
			pkg:  "./ratchet/sqlite", test: "TestKillOfTheNextOpening",
		},
		{
			name: "last-mark-not-missed",
			file: "ratchet/sqlite/last.go",
			old:  "\tif said == nil || said.mark.Kind == 0 {",
			new:  "\tif said == nil || path != \"\" {",
			pkg:  "./ratchet/sqlite", test: "TestLastMarkIsMissed",
		},
		{
			name: "last-mark-by-its-level-alone",
			file: "ratchet/sqlite/last.go",
			old:  "there != nil && !m.Above(there.Mark) {",
			new:  "there != nil && m.Level <= there.Level {",
			pkg:  "./ratchet/sqlite", test: "TestLastMarkOfTheSameLevel",
		},
		{
			name: "note-of-the-first-mark",
			file: "ratchet/sqlite/last.go",
			old:  "\t\tif j.stored != nil {\n\t\t\tdb.last.note.mark = *j.stored\n\t\t}",
			new:  "\t\tif j.stored != nil {\n\t\t\tdb.last.note.mark = *j.stored\n\t\t\tbreak\n\t\t}",
			pkg:  "./ratchet/sqlite", test: "TestNoteIsOfTheLastMark",
		},
		{
			name: "last-mark-not-noted",
			file: "ratchet/sqlite/transact.go",
			old:  "\tif err := db.noteBatch(batch); err != nil {",
			new:  "\tif err := db.noteBatch(batch); err != nil && len(batch) == 0 {",
			pkg:  "./ratchet/sqlite", test: "TestLastMarkThatCannotBeNoted",
		},
		{
			name: "damage-accepted",
			file: "ratchet/sqlite/open.go",
			old:  "\tif result != \"ok\" {",
			new:  "\tif result == \"\" {",
			pkg:  "./ratchet/sqlite", test: "TestDamageThatNoReadMeetsIsRefused",
		},
	}
}

func seals() []sabotage {
	return []sabotage{
		{
			name: "changed-mark-accepted",
			file: "ratchet/sqlite/rows.go",
			old:  "\treturn m, checkSealOfMark(m, seal)",
			new:  "\t_ = seal\n\treturn m, nil",
			pkg:  "./ratchet/sqlite", test: "TestChangedRowIsRefused",
		},
		{
			name: "changed-registration-accepted",
			file: "ratchet/sqlite/rows.go",
			old:  "\t\treturn checkSealOfRegistration(r, seal)",
			new:  "\t\t_ = seal\n\t\treturn nil",
			pkg:  "./ratchet/sqlite", test: "TestChangedRowIsRefused",
		},
		{
			name: "changed-mark-judges", // in the transaction
			file: "ratchet/sqlite/rows.go",
			old:  "\t\tmark, err := scanMark(row)",
			new:  "\t\tmark, _, err := scanUnchecked(row)",
			pkg:  "./ratchet/sqlite", test: "TestRowThatChangesWhileOpen",
		},
		{
			name: "seal-without-round",
			file: "ratchet/sqlite/seal.go",
			old:  "uint32(m.Round))",
			new:  "uint32(0*m.Round))",
			pkg:  "./ratchet/sqlite", test: "TestChangedRowIsRefused",
		},
	}
}

func locks() []sabotage {
	return []sabotage{
		{
			name: "second-daemon-on-a-file",
			file: "ratchet/sqlite/filelock.go",
			old:  "\terr = flock(fd)",
			new:  "\terr = nil",
			pkg:  "./ratchet/sqlite", test: "TestSecondOpenInThisProcess",
		},
		{
			name: "second-daemon-on-a-key",
			file: "internal/hostlock/keylock.go",
			old:  "uid == 0 || uid == os.Geteuid()",
			new:  "uid == 0 && uid == os.Getpid()",
			pkg:  "./internal/hostlock", test: "TestKeyLock",
		},
	}
}
