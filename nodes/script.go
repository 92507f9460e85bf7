package nodes

import (
	"bytes"
	"context"
	"embed"
	"io"
	"strings"
)

// scripts are what runs on nodes; each says at its top what it does.
//
//go:embed scripts
var scripts embed.FS

// script runs one of the scripts on the node and returns its output; stdin may be nil.
func (c *Client) script(ctx context.Context, name string, stdin io.Reader, args ...string) (string, error) {
	line, err := commandLine(name, args)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = c.Stream(ctx, line, stdin, &out)
	return out.String(), err
}

// commandLine is what the node's shell gets to run a script that is not on the node.
func commandLine(name string, args []string) (string, error) {
	body, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		return "", err
	}
	words := []string{"exec sh -c", Quote(string(body)), Quote(name)}
	for _, a := range args {
		words = append(words, Quote(a))
	}
	return strings.Join(words, " "), nil
}
