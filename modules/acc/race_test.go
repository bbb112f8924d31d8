//go:build race

package acc

// raceDetector says that sync.Pool drops at random, so allocations cannot be
// counted.
const raceDetector = true
