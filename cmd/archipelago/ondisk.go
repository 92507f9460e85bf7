package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
)

// onDiskCommand is what units of applications ask before they start, also while no daemon runs.
func onDiskCommand() *cobra.Command {
	return &cobra.Command{
		Use: "on-disk DIR UUID MOUNT...", Short: "Say whether directories are on the disks that they were on",
		Long: `Say whether directories are on the disks that they were on, each given with the UUID of
its file system and where that was mounted. Units of applications with data on another
disk start only if it succeeds.`,
		Example: "  archipelago on-disk /mnt/big/APP/VOLUME 0a1b2c3d-4e5f-6789-abcd-ef0123456789 /mnt/big",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args)%3 != 0 {
				return errors.New("expected DIR UUID MOUNT, once or more")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			mounts, err := disk.Mounted()
			if err != nil {
				return err
			}
			for ; len(args) > 0; args = args[3:] {
				if why := mounts.Absent(args[0], disk.Disk{UUID: args[1], At: args[2]}); why != "" {
					return errors.New("waiting for " + why)
				}
			}
			return nil
		},
	}
}
