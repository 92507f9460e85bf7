// Package usage tells what a user got wrong from what went wrong, so that a command can
// end with another exit status.
package usage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Error is the user's mistake: a wrong flag or argument, or a file that cannot be used.
type Error struct{ error }

func (e Error) Unwrap() error { return e.error }

// Wrap marks an error as the user's mistake; nil stays nil.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	return Error{err}
}

// Is tells whether an error is the user's mistake.
func Is(err error) bool {
	var e Error
	return errors.As(err, &e)
}

// Mark makes wrong flags and arguments an Error, in a command and all below it. A command
// that only groups others shows its help, and takes no other argument.
func Mark(c *cobra.Command) {
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Wrap(err) })
	mark(c)
}

func mark(c *cobra.Command) {
	if args := c.Args; args != nil {
		c.Args = func(cmd *cobra.Command, s []string) error {
			if len(s) > 0 && cmd.HasSubCommands() {
				return unknown(cmd, s[0])
			}
			if err := errors.Join(args(cmd, s), cmd.ValidateRequiredFlags()); err != nil {
				return Wrap(fmt.Errorf("%w\nusage: %s", err, cmd.UseLine()))
			}
			return nil
		}
	}
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = func(cmd *cobra.Command, s []string) error {
			if len(s) > 0 {
				return unknown(cmd, s[0])
			}
			return nil
		}
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range c.Commands() {
		mark(sub)
	}
}

// unknown refuses the name of a command that there is not, and says which one it is like.
func unknown(c *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q for %q", name, c.CommandPath())
	if c.SuggestionsMinimumDistance <= 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if like := c.SuggestionsFor(name); len(like) > 0 {
		return Wrap(fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or ")))
	}
	return Wrap(fmt.Errorf("%w; see '%s --help'", err, c.CommandPath()))
}
