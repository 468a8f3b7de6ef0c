package softcard

import "pawl/signer/grep11/pb"

// Service is the card without a connection, for tests that call it very often.
func Service(c *Card) pb.CryptoServer { return &service{card: c} }

// Answered turns the error of a call into what the client gets.
var Answered = answered

// DirFiles are the names of a card's files.
var DirFiles = dirFiles
