// Package labtest gives tests a lab node to work on.
package labtest
