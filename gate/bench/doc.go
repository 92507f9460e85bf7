// Package bench compares, in one run on one lab node, what the daemon takes for an
// application's lifecycle with what bare systemctl and podman take for the same
// units. It prints; nothing fails for being slow, since machines are noisy. Its
// tests need the lab and carry the build tag "lab"; 'make bench' runs them.
package bench
