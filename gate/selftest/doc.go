// Package selftest proves that the gate can fail: it plants faults on the lab's
// real nodes, in the daemon or in an application, and wants each to be red on the
// right step for the right reason; and it wants a healthy run to be green, again
// and again. Its tests need root and take minutes, so they carry the build tag
// "lab"; 'make gate-selftest' runs them.
package selftest
