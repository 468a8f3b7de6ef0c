package main

// sabotages lists what must never pass unnoticed, in the order of the sign path.
func sabotages() []sabotage {
	var all []sabotage
	for _, group := range [][]sabotage{
		parser(), policies(), watermark(), registration(), flights(), commits(), files(), losses(), locks(), signing(), faults(), delays(), servers(), secrets(),
	} {
		all = append(all, group...)
	}
	return all
}

func parser() []sabotage {
	return []sabotage{
		{
			name: "payload-round-used",
			file: "tezos/consensus.go",
			old:  "\t\tRound:           round,",
			new:  "\t\tRound:           0*round + int32At(p, fitnessAt+len(fitness)+64),",
			pkg:  "./tezos", test: "TestPayloadRoundIsCarried",
		},
		{
			name: "dal-is-a-kind-of-its-own",
			file: "tezos/consensus.go",
			old:  "\t\tKind:    l.kind,",
			new:  "\t\tKind:    map[bool]Kind{false: l.kind, true: Kind(l.tag)}[l.dal],",
			pkg:  "./tezos", test: "TestVectors",
		},
		{
			name: "trailing-bytes-accepted",
			file: "tezos/consensus.go",
			old:  "\tif len(p) != end {",
			new:  "\tif len(p) < end {",
			pkg:  "./tezos", test: "TestExtensionsAreRefused",
		},
	}
}

func policies() []sabotage {
	return []sabotage{
		{
			name: "first-content-only",
			file: "policy/policy.go",
			old:  "\tfor _, content := range req.Contents {",
			new:  "\tfor _, content := range req.Contents[:1] {",
			pkg:  "./policy", test: "TestCheck",
		},
		{
			name: "baking-open-by-default",
			file: "policy/policy.go",
			old:  "\tcase !p.Baking:",
			new:  "\tcase false:",
			pkg:  "./policy", test: "TestCheck",
		},
		{
			name: "duplicate-names-accepted",
			file: "signer/finding.go",
			old:  "\t\tcase !double:",
			new:  "\t\tcase !double, other == m.name:",
			pkg:  "./signer", test: "TestParseRefuses",
		},
		{
			name: "no-client-authentication",
			file: "server/auth.go",
			old:  "\tif signature == nil {",
			new:  "\tif signature == nil && false {",
			pkg:  "./server", test: "TestAuthenticationByKeysOfAllKinds",
		},
	}
}

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
			file: "signer/open.go",
			old:  "\t\t\tregistered[place{db, row.Key}] = true",
			new:  "\t\t\tfor _, any := range o.dbs {\n\t\t\t\tregistered[place{any, row.Key}] = true\n\t\t\t}",
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

func signing() []sabotage {
	return []sabotage{
		{
			name: "no-verification",
			file: "signer/hsm.go",
			old:  "\treturn sig, k.Key.PublicKey().Verify(digest, sig)",
			new:  "\treturn sig, nil",
			pkg:  "./signer", test: "TestBadSignatureIsNotReleased",
		},
		{
			name: "mechanism-list-decides",
			file: "signer/watch.go",
			old:  "\tif ready < 0 || s.places[ready].probe(ctx) == nil || ctx.Err() != nil {",
			new:  "\tif ready < 0 {",
			pkg:  "./signer", test: "TestMechanismListAlone",
		},
		{
			name: "old-probe-overtakes",
			file: "signer/watch.go",
			old:  "\t\tif h.told == told {",
			new:  "\t\tif h.told >= told {",
			pkg:  "./signer", test: "TestOvertakenProbe",
		},
		{
			name: "no-low-s",
			file: "signer/grep11/key.go",
			old:  "\treturn signature.LowS(), nil",
			new:  "\treturn signature, nil",
			pkg:  "./signer", test: "TestSignIsLowS",
		},
		{
			name: "high-s-of-tz2-verifies",
			file: "tezos/verify.go",
			old:  "\tif s.IsOverHalfOrder() {",
			new:  "\tif s.IsOverHalfOrder() && false {",
			pkg:  "./tezos", test: "TestHighS",
		},
		{
			name: "policy-not-asked",
			file: "signer/signer.go",
			old:  "\tif err = key.Policy.Check(res.Request); err != nil {",
			new:  "\tif err = key.Policy.Check(res.Request); err != nil && false {",
			pkg:  "./signer", test: "TestSignRefuses",
		},
	}
}

func faults() []sabotage {
	return []sabotage{
		{
			name: "released-after-a-failure",
			file: "signer/signer.go",
			old:  "stopped := s.stopped(); stopped != nil {",
			new:  "stopped := error(nil); stopped != nil {",
			pkg:  "./signer", test: "TestNothingLeavesAfterAFailure",
		},
		{
			name: "leaving-is-a-fault",
			file: "signer/hsm.go",
			old:  "\tif err != nil && errors.Is(ctx.Err(), context.Canceled) {",
			new:  "\tif err != nil && false {",
			pkg:  "./signer", test: "TestLeavingIsNoFault",
		},
		{
			name: "a-try-without-end",
			file: "signer/hsm.go",
			old:  "\ttryTimeout = 2 * time.Second",
			new:  "\ttryTimeout = 20 * time.Second",
			pkg:  "./signer", test: "TestTryHasTwoSeconds",
		},
		{
			name: "an-operation-without-end",
			file: "signer/operation.go",
			old:  "const operationTimeout = 5 * time.Second",
			new:  "const operationTimeout = 50 * time.Second",
			pkg:  "./signer", test: "TestOperationHasFiveSeconds",
		},
		{
			name: "operations-all-at-once",
			file: "signer/operation.go",
			old:  "turn: make(chan struct{}, 1)",
			new:  "turn: make(chan struct{}, 100)",
			pkg:  "./signer", test: "TestOperationsWaitInTurn",
		},
		{
			name: "ready-on-a-full-disk",
			file: "signer/watch.go",
			old:  "key.Ratchet.Trouble(), ",
			new:  "",
			pkg:  "./signer", test: "TestFullDiskIsNotReady",
		},
		{
			name: "unready-for-ever",
			file: "signer/watch.go",
			old:  "_ = db.Probe(ctx)",
			new:  "_ = ctx",
			pkg:  "./signer", test: "TestFullDiskIsNotReady",
		},
		{
			name: "probe-not-verified",
			file: "signer/watch.go",
			old:  "\tif _, err := p.key.callHSM(ctx, p, digest); err != nil {",
			new:  "\tif _, err := p.Sign(ctx, digest); err != nil {",
			pkg:  "./signer", test: "TestBadProbeIsNotReady",
		},
		{
			name: "owner-of-keys-json-changes",
			file: "signer/edit.go",
			old:  "temp.Chown(int(old.Uid), int(old.Gid)), ",
			new:  "",
			pkg:  "./signer", test: "TestEditKeepsOwnerAndMode",
		},
	}
}

// delays are what must not stand in the way of a signature.
func delays() []sabotage {
	return []sabotage{
		{
			name: "never-at-rest",
			file: "ratchet/rest.go",
			old:  "\tcase t.marks < restMarks:",
			new:  "\tcase true:",
			pkg:  "./ratchet", test: "TestRest",
		},
		{
			name: "first-mark-syncs-twice",
			file: "ratchet/open.go",
			old:  "\tif err := touch(ctx, db.conn); err != nil {",
			new:  "\tif err := error(nil); err != nil {",
			pkg:  "./ratchet", test: "TestOneSyncPerSignature",
		},
		{
			name: "log-before-answer",
			file: "server/keys.go",
			old:  "\tc.Response().Flush()",
			new:  "",
			pkg:  "./server", test: "TestLogDoesNotDelayTheAnswer",
		},
		{
			name: "late-errors",
			file: "cmd/pawl/latelog.go",
			old:  "\tcase line.record.Level >= slog.LevelError, waiting >= lateLines:",
			new:  "\tcase waiting >= lateLines:",
			pkg:  "./cmd/pawl", test: "TestErrorIsNotLate",
		},
		{
			name: "log-without-end",
			file: "cmd/pawl/latelog.go",
			old:  "\tcase line.record.Level >= slog.LevelError, waiting >= lateLines:",
			new:  "\tcase line.record.Level >= slog.LevelError:",
			pkg:  "./cmd/pawl", test: "TestBlockedLogKeepsALimit",
		},
		{
			name: "pings-for-each-call",
			file: "signer/grep11/client.go",
			old:  "\t\tgrpc.WithStaticStreamWindowSize(window),",
			new:  "",
			pkg:  "./signer/grep11/softcard", test: "TestNoPings",
		},
	}
}

func servers() []sabotage {
	return []sabotage{
		{
			name: "second-try-at-the-same-server",
			file: "signer/hsm.go",
			old:  "\tother := k.choose(first)\n",
			new:  "\tother := first\n",
			pkg:  "./signer", test: "TestRetryOnAnotherServer",
		},
		{
			name: "fatal-refusal-tried-again",
			file: "signer/hsm.go",
			old:  "\tcase fatal(err):\n",
			new:  "\tcase err == nil:\n",
			pkg:  "./signer", test: "TestRetryOnAnotherServer",
		},
		{
			name: "server-without-mechanism-used",
			file: "signer/watch.go",
			old:  "\t\ts.learn(list)\n",
			new:  "\t\t_ = list\n",
			pkg:  "./signer", test: "TestServerWithoutMechanism",
		},
		{
			name: "new-blobs-wait-for-the-watch",
			file: "signer/hsm.go",
			old:  "\tif p.key.signer.lookAtConfig(ctx, false); p.offered.Load() == known {",
			new:  "\tif p.offered.Load() == known {",
			pkg:  "./signer", test: "TestFinalisedBeforeTheTakeUp",
		},
		{
			name: "promoted-after-one-server",
			file: "cmd/pawl/keyspromote.go",
			old:  "inOneLine(atEach(clients, func",
			new:  "inOneLine(atEach(clients[:1], func",
			pkg:  "./cmd/pawl", test: "TestPromoteAsksAllServers",
		},
		{
			name: "unproven-certificates-used",
			file: "signer/grep11/reload.go",
			old:  "\tif err := stands(ctx, conn); err != nil {",
			new:  "\tif err := stands(ctx, conn); err != nil && ctx == nil {",
			pkg:  "./signer/grep11", test: "TestReloadKeepsTheOldConnection",
		},
	}
}

func secrets() []sabotage {
	return []sabotage{
		{
			name: "payload-in-the-log",
			file: "server/keys.go",
			old:  "\tentryOf(c).result = result",
			new:  "\tentryOf(c).result = result\n\ts.log.Debug(\"asked\", \"payload\", payload)",
			pkg:  "./server", test: "TestNoPayloadAndNoBlobInTheLog",
		},
		{
			name: "blob-in-the-log",
			file: "signer/grep11/blob.go",
			old:  "func (Blob) LogValue() slog.Value { return slog.StringValue(redacted) }",
			new:  "func (b Blob) LogValue() slog.Value { return slog.StringValue(b.Hex()) }",
			pkg:  "./signer/grep11", test: "TestBlobIsNeverPrinted",
		},
		{
			name: "blob-in-an-error",
			file: "signer/grep11/blob.go",
			old:  "func (Blob) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }",
			new:  "func (b Blob) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.Hex()) }",
			pkg:  "./signer/grep11", test: "TestBlobIsNeverPrinted",
		},
	}
}
