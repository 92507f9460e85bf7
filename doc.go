// Package archipelago is the root of a product of two halves: a node's daemon that
// keeps applications at their desired state, and the gate that no release of it
// gets around. The packages below it are the halves' vocabulary; see README.md.
package archipelago
