package main

// sabotages lists what must never pass unnoticed: the rules in the order of the sign path, then the
// conditions line by line.
func sabotages() ([]sabotage, error) {
	var all []sabotage
	for _, group := range [][]sabotage{
		parser(), policies(), watermark(), registration(), flights(), commits(), files(), losses(), seals(), locks(),
		signing(), faults(), delays(), servers(), secrets(), durableFiles(),
	} {
		all = append(all, group...)
	}
	caught, _, err := conditions()
	return append(all, caught...), err
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
			name: "policy-of-any-key",
			file: "signer/signer.go",
			old:  "\tif err = key.policy.Check(res.Request); err != nil {",
			new: "\terr = key.policy.Check(res.Request)\n\tfor _, other := range s.ring.Load().keys {\n" +
				"\t\tif other.policy.Check(res.Request) == nil {\n\t\t\terr = nil\n\t\t}\n\t}\n\tif err != nil {",
			pkg: "./signer", test: "TestEachKeyHasItsPolicy",
		},
		{
			name: "duplicate-names-accepted",
			file: "internal/config/findings.go",
			old:  "\t\tcase !double:",
			new:  "\t\tcase !double, other == m.name:",
			pkg:  "./internal/config", test: "TestParseRefuses",
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

func signing() []sabotage {
	return []sabotage{
		{
			name: "no-verification",
			file: "signer/try.go",
			old:  "\t\t\treturn sig, r.key.public.Verify(m, sig)",
			new:  "\t\t\treturn sig, nil",
			pkg:  "./signer", test: "TestBadSignatureIsNotReleased",
		},
		{
			name: "mechanism-list-decides",
			file: "signer/watch.go",
			old:  "\tif ready < 0 || s.replicas[ready].probe(ctx) == nil || ctx.Err() != nil {",
			new:  "\tif ready < 0 {",
			pkg:  "./signer", test: "TestMechanismListAlone",
		},
		{
			name: "old-probe-overtakes",
			file: "signer/replica.go",
			old:  "\t\tif h.outcomes == outcomes {",
			new:  "\t\tif h.outcomes >= outcomes {",
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
			old:  "\tif err = key.policy.Check(res.Request); err != nil {",
			new:  "\tif err = key.policy.Check(res.Request); err != nil && false {",
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
			file: "signer/try.go",
			old:  "\tif err != nil && errors.Is(ctx.Err(), context.Canceled) {",
			new:  "\tif err != nil && false {",
			pkg:  "./signer", test: "TestLeavingIsNoFault",
		},
		{
			name: "a-try-without-end",
			file: "signer/try.go",
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
			old:  "key.ratchet.Trouble(), ",
			new:  "",
			pkg:  "./signer", test: "TestFullDiskIsNotReady",
		},
		{
			name: "unready-for-ever",
			file: "ratchet/sqlite/trouble.go",
			old:  "\t\tt.probe.Reset(probeInterval)",
			new:  "\t\t_ = probeInterval",
			pkg:  "./signer", test: "TestFullDiskIsNotReady",
		},
		{
			name: "probe-not-verified",
			file: "signer/watch.go",
			old:  "r.try(ctx, message, func(time.Duration, error) {})",
			new:  "r.hsmKey.Sign(ctx, message)",
			pkg:  "./signer", test: "TestBadProbeIsNotReady",
		},
		{
			name: "owner-of-keys-json-changes",
			file: "internal/durable/write.go",
			old:  "f.Chown(int(old.Uid), int(old.Gid)), ",
			new:  "",
			pkg:  "./internal/config", test: "TestEditKeepsOwnerAndMode",
		},
	}
}

// delays are what must not stand in the way of a signature.
func delays() []sabotage {
	return []sabotage{
		{
			name: "never-checkpointed",
			file: "ratchet/sqlite/idle.go",
			old:  "\tcase i.marks < idleMarks:",
			new:  "\tcase true:",
			pkg:  "./ratchet/sqlite", test: "TestIdleCheckpoint",
		},
		{
			name: "first-mark-syncs-twice",
			file: "ratchet/sqlite/open.go",
			old:  "\tif err := db.write(ctx, touch); err != nil {",
			new:  "\tif err := error(nil); err != nil {",
			pkg:  "./ratchet/sqlite", test: "TestOneSyncPerSignature",
		},
		{
			name: "log-before-answer",
			file: "server/http_routes.go",
			old:  "\tc.Response().Flush()",
			new:  "",
			pkg:  "./server", test: "TestLogDoesNotDelayTheAnswer",
		},
		{
			name: "late-errors",
			file: "internal/latelog/latelog.go",
			old:  "\tcase level >= slog.LevelError:\n\t\tl.hurry()\n",
			new:  "",
			pkg:  "./internal/latelog", test: "TestErrorIsNotLate",
		},
		{
			name: "log-without-end",
			file: "internal/latelog/latelog.go",
			old:  "\tfits = !closed && waiting < room(level)",
			new:  "\tfits = !closed",
			pkg:  "./internal/latelog", test: "TestNobodyReads",
		},
		{
			name: "pings-for-each-call",
			file: "signer/grep11/client.go",
			old:  "\t\tgrpc.WithStaticStreamWindowSize(window),",
			new:  "",
			pkg:  "./softcard", test: "TestNoPings",
		},
	}
}

func servers() []sabotage {
	return []sabotage{
		{
			name: "second-try-at-the-same-server",
			file: "signer/try.go",
			old:  "\tother, fault := k.choose(first), hsm.FaultOf(err)\n",
			new:  "\tother, fault := first, hsm.FaultOf(err)\n",
			pkg:  "./signer", test: "TestRetryOnAnotherServer",
		},
		{
			name: "fatal-refusal-tried-again",
			file: "signer/try.go",
			old:  "\tcase fault == hsm.Rejected:\n",
			new:  "\tcase err == nil:\n",
			pkg:  "./signer", test: "TestRetryOnAnotherServer",
		},
		{
			name: "server-without-mechanism-used",
			file: "signer/grep11/refresh.go",
			old:  "\t\tc.mechanisms.Store(&list)\n",
			new:  "\t\t_ = list\n",
			pkg:  "./signer", test: "TestServerWithoutMechanism",
		},
		{
			name: "new-blobs-wait-for-the-watch",
			file: "signer/try.go",
			old:  "\ts.options.Renew(ctx)\n",
			new:  "",
			pkg:  "./internal/daemon", test: "TestFinalisedBeforeTheTakeUp",
		},
		{
			name: "promoted-after-one-server",
			file: "cmd/pawl/keys_promote.go",
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
			file: "server/sign.go",
			old:  "\tlog.result = result",
			new:  "\tlog.result = result\n\ts.log.Debug(\"asked\", \"payload\", payload)",
			pkg:  "./server", test: "TestNoPayloadAndNoBlobInTheLog",
		},
		{
			name: "blob-in-the-log",
			file: "internal/ep11/blob.go",
			old:  "func (Blob) LogValue() slog.Value { return slog.StringValue(redacted) }",
			new:  "func (b Blob) LogValue() slog.Value { return slog.StringValue(b.Hex()) }",
			pkg:  "./internal/ep11", test: "TestBlobIsNeverPrinted",
		},
		{
			name: "blob-in-an-error",
			file: "internal/ep11/blob.go",
			old:  "func (Blob) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }",
			new:  "func (b Blob) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.Hex()) }",
			pkg:  "./internal/ep11", test: "TestBlobIsNeverPrinted",
		},
	}
}
