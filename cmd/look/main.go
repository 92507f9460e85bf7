// Command look is what a witness of the gate runs on a node: it tells what systemd, the kernel
// and the disk say there. The gate brings it along; it is no part of a release.
package main

import (
	"os"

	"github.com/archipelago-cloud/archipelago/matrix/look"
)

func main() { os.Exit(look.Main(os.Args[1:], os.Stdin, os.Stdout)) }
