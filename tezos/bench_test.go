package tezos_test

import (
	"testing"

	"pawl/tezos"
)

func BenchmarkParseConsensus(b *testing.B) {
	for _, name := range []string{
		"calc-block-tz1-locked", "calc-attestation-tz1", "calc-attestation-with-dal-tz1", "calc-attestation-bls-tz4",
	} {
		v := readVector(b, "testdata/"+name+".txt")
		key := v.key(b)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tezos.ParseRequest(v.payload, key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, s := range oneOfEach(b) {
		sig := s.signature(b)
		b.Run(s.key.Kind().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.key.Verify(s.message, sig); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Parsing a baker's payload allocates one small value.
func TestConsensusAllocations(t *testing.T) {
	for _, name := range []string{"calc-block-tz1-locked", "calc-attestation-with-dal-tz1", "calc-attestation-bls-tz4"} {
		v := readVector(t, "testdata/"+name+".txt")
		key := v.key(t)
		allocations := testing.AllocsPerRun(100, func() {
			if _, err := tezos.ParseRequest(v.payload, key); err != nil {
				t.Fatal(err)
			}
		})
		if allocations > 1 {
			t.Errorf("%s: %v allocations, want 1", name, allocations)
		}
	}
}
