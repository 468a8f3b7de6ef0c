package softcard

import (
	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// lowID is the number of a mechanism or an attribute as a card knows it: the lower 32 bits (the
// CK_ULONG of its wire). Java clients send 0x80010008 as 0xffffffff80010008, with its sign extended.
func lowID(id uint64) uint64 { return id & (1<<32 - 1) }

// underLowIDs returns the attributes under the numbers that the card knows. None may stand there
// twice.
func underLowIDs(attrs map[uint64]*pb.AttributeValue) (map[uint64]*pb.AttributeValue, error) {
	low := make(map[uint64]*pb.AttributeValue, len(attrs))
	for id, value := range attrs {
		if _, twice := low[lowID(id)]; twice {
			return nil, refuse(ep11.CodeTemplateInconsistent, "attribute 0x%x stands there twice", lowID(id))
		}
		low[lowID(id)] = value
	}
	return low, nil
}
