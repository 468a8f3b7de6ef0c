package tezos

const (
	// maxMichelineDepth bounds the stack. Octez gives up on deeper values
	// (script_ir_translator.ml, Typechecking_too_many_recursive_calls).
	maxMichelineDepth = 10_000
	// lastPrimitive is the highest code of a Michelson primitive
	// (michelson_v1_primitives.ml).
	lastPrimitive = 0xa0
)

// checkMichelson checks packed Michelson data: one Micheline node that fills the payload.
func checkMichelson(p []byte) *ParseError {
	r := reader{buf: p, pos: 1, end: len(p), in: "Michelson"}
	r.micheline(0)
	r.finish()
	return r.err
}

// micheline reads one node (src/lib_micheline/micheline_encoding.ml).
func (r *reader) micheline(depth int) {
	at := r.pos
	if depth >= maxMichelineDepth {
		r.fail(at, "value is nested deeper than %d", maxMichelineDepth)
		return
	}
	switch tag := r.byte("node"); tag {
	case 0x00:
		r.integer("number")
	case 0x01:
		r.dynamic("string")
	case 0x02:
		r.michelineList(depth)
	case 0x03, 0x04, 0x05, 0x06, 0x07, 0x08:
		r.primitive()
		for range (tag - 0x03) / 2 {
			r.micheline(depth + 1)
		}
		if tag%2 == 0 {
			r.dynamic("annotation")
		}
	case 0x09:
		r.primitive()
		r.michelineList(depth)
		r.dynamic("annotation")
	case 0x0a:
		r.dynamic("bytes")
	default:
		r.fail(at, "node has unknown tag 0x%02x", tag)
	}
}

func (r *reader) michelineList(depth int) {
	outer := r.open("sequence")
	for r.more() {
		r.micheline(depth + 1)
	}
	r.close(outer)
}

func (r *reader) primitive() {
	at := r.pos
	if code := r.byte("primitive"); code > lastPrimitive {
		r.fail(at, "primitive 0x%02x is unknown", code)
	}
}
