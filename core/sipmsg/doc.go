// Package sipmsg holds one SIP message: an index over the bytes that were
// received, values that are parsed when somebody asks, and edits kept as
// splices, so that what nobody touched leaves the router byte for byte as it
// came.
//
// Framing and validation are apart. Parse fails only where nothing can be cut
// out of the bytes at all; everything else that is wrong is remembered, and
// Check says which status RFC 3261 owes the sender for it.
//
// A Message belongs to one goroutine at a time. Slices it hands out point into
// the received bytes (or into the message's own arena) and are valid until the
// message is parsed anew, compacted or released.
package sipmsg
