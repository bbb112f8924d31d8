//go:build !race

package acc

const raceDetector = false
