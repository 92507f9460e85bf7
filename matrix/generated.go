package matrix

import (
	"fmt"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// CheckGenerated requires the services that Podman's generator makes of Quadlet files
// (its output with -dryrun) to start each container as is meant: every argument of
// podman-run(1) that is more, less or other is wrong.
func CheckGenerated(e *Expectation, output string) (wrong []string) {
	for i := range e.Containers {
		c := &e.Containers[i]
		_, service, ok := strings.Cut("\n"+output, "\n---"+c.Name+".service---\n")
		service, _, _ = strings.Cut(service, "\n---")
		_, line, starts := strings.Cut(service, "\nExecStart=")
		line, _, _ = strings.Cut(line, "\n")
		if !ok || !starts {
			wrong = append(wrong, fmt.Sprintf("service %s.service is not generated", c.Name))
			continue
		}
		argv, err := argv(unescape(line))
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("service %s.service: %v", c.Name, err))
			continue
		}
		wrong = append(wrong, compare("service "+c.Name+".service", c.arguments(), arguments(argv))...)
	}
	return wrong
}

// arguments are those with which Podman must run the container.
func (c *Meant) arguments() wanted {
	w := wanted{"--cidfile": {any: true, optional: true}, "--label " + manifest.LabelSpec: {text: "a digest"}}
	for _, flag := range []string{"--replace", "--rm", "--detach"} {
		w.must(flag, "set")
	}
	w.must("program", "/usr/bin/podman run")
	w.must("--name", c.Name)
	w.must("--cgroups", "split")
	w.must("--stop-timeout", c.StopTimeout.String())
	w.must("--pull", "never")
	w.must("--sdnotify", "conmon")
	w.must("--security-opt", "no-new-privileges")
	w.must("--cap-drop", "all")
	w.must("--label "+manifest.LabelApp, c.App)
	if c.User != "" {
		w.must("--user", c.User)
	}
	for _, n := range c.Networks {
		w.must("--network "+n, c.joins(n))
	}
	c.saysGrants(func(name, value string) {
		if name == "AddCapability" {
			value = strings.ToLower(value) // as Podman's generator writes them
		}
		w.also(grantFlags[name], value)
	})
	for _, p := range c.Ports {
		name, value := p.published()
		w.must("--publish "+name, value)
	}
	for target, v := range c.Volumes {
		w.must("--volume "+target, v.source())
	}
	for target, f := range c.Files {
		w.must("--volume "+target, f.source())
	}
	for _, t := range c.Tmpfs {
		w.must("--tmpfs "+t.Target, t.options())
	}
	c.saysMore(func(name, value string) {
		name, subject, _ := strings.Cut(name, " ")
		if name == "RunInit" || name == "ReadOnly" {
			value = "set"
		}
		w.must(strings.TrimSpace(flags[name]+" "+subject), value)
	})
	for _, s := range c.Secrets {
		w.also("--secret "+s.Name, s.options())
	}
	for name, value := range c.Environment {
		w.must("--env "+name, value)
	}
	if h := c.Health; h != nil {
		w.must("--sdnotify", "healthy")
		w.must("--health-cmd", words(h.Exec))
		w.must("--label "+manifest.LabelHealth, h.Probe)
		w.must("--health-interval", "disable")
		w.must("--health-timeout", h.Timeout.String())
		w.must("--health-retries", fmt.Sprint(h.Retries))
		w.must("--health-start-period", h.StartPeriod.String())
	}
	w.must("image", c.Image.Pinned())
	w.must("command", words(c.Command))
	return w
}

// switches are the arguments of podman-run(1) that the generator gives without a value.
var switches = map[string]string{"--replace": "--replace", "--rm": "--rm", "-d": "--detach", "--detach": "--detach", "--init": "--init", "--read-only": "--read-only"}

// arguments reads a command line of Podman into properties.
func arguments(argv []string) properties {
	p := properties{}
	if len(argv) < 2 {
		return p
	}
	p.add("program", strings.Join(argv[:2], " "))
	i := 2
	for ; i < len(argv) && strings.HasPrefix(argv[i], "-"); i++ {
		if name, ok := switches[argv[i]]; ok {
			p.add(name, "set")
			continue
		}
		name, value, inOne := strings.Cut(argv[i], "=")
		if !inOne && i+1 < len(argv) {
			i++
			value = argv[i]
		}
		subject, about := "", value
		switch name {
		case "-v", "--volume":
			name = "--volume"
			var options string
			about, subject, _ = strings.Cut(value, ":")
			subject, options, _ = strings.Cut(subject, ":")
			about = strings.TrimSuffix(withoutDigest(about)+", "+options, ", ")
		case "--network":
			subject, about, _ = joined(value)
		case "--env", "--label":
			subject, about, _ = strings.Cut(value, "=")
			if subject == manifest.LabelSpec && specDigest.MatchString(about) {
				about = "a digest"
			}
		case "--publish":
			subject, about, _ = publication(value)
		case "--tmpfs":
			subject, about, _ = tmpfsOptions(value)
		case "--ulimit", "--sysctl":
			subject, about, _ = strings.Cut(value, "=")
		case "--shm-size":
			about = fmt.Sprint(bytesOf(value))
		case "--entrypoint":
			about = probeWords(value)
		case "--secret":
			subject, about, _ = secretOptions(value)
		case "--health-cmd", "--health-startup-cmd":
			about = probeWords(value)
		case "--stop-timeout", "--health-interval", "--health-timeout", "--health-start-period", "--health-startup-interval", "--health-startup-timeout":
			about = span(value)
		}
		p.add(strings.TrimSpace(name+" "+subject), about)
	}
	if i < len(argv) {
		p.add("image", argv[i])
		p.add("command", words(slices.Clone(argv[i+1:])))
	}
	return p
}
