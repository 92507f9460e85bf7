// Package faults does to the lab's real nodes what a small server does to its
// applications, and wants witnesses to find data, secrets, containers and desired
// state as they should be afterwards, within a bounded time that is measured. Its
// specs need root and take minutes, so they carry the build tag "lab"; 'make faults'
// runs them.
package faults
