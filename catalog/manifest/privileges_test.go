package manifest_test

import (
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestPrivilegesThatAnUpdateAddsAreNamed(t *testing.T) {
	web := manifest.Port{Name: "web", Container: 80, Host: 8080}
	served := map[string]manifest.Interface{"web": {Port: "web"}}
	base := func(change func(*manifest.Manifest)) *manifest.Manifest {
		m := &manifest.Manifest{ID: "a", Containers: []manifest.Container{{Name: "a", User: "1000"}}}
		if change != nil {
			change(m)
		}
		return m
	}
	ports := func(p ...manifest.Port) func(*manifest.Manifest) {
		return func(m *manifest.Manifest) { m.Containers[0].Ports = p }
	}
	memory := func(limit string) func(*manifest.Manifest) {
		return func(m *manifest.Manifest) { m.Resources.Memory = limit }
	}
	own := func(limit, one string) func(*manifest.Manifest) {
		return func(m *manifest.Manifest) { m.Resources.Memory, m.Containers[0].Memory = limit, one }
	}
	requires := func(config map[string]string) func(*manifest.Manifest) {
		return func(m *manifest.Manifest) { m.Requires = []manifest.Requirement{{App: "bitcoin", Config: config}} }
	}
	user := func(u string) func(*manifest.Manifest) {
		return func(m *manifest.Manifest) { m.Containers[0].User = u }
	}
	webInterface := func(m *manifest.Manifest) { m.Interfaces = served; ports(web)(m) }
	for _, c := range []struct {
		name     string
		from, to func(*manifest.Manifest)
		want     []string
	}{
		{"nothing", nil, func(m *manifest.Manifest) { m.Version = "2" }, nil},
		{"a port", nil, ports(manifest.Port{Host: 8333}), []string{"publishes port 8333/tcp of the node"}},
		{"the same number by another protocol", ports(manifest.Port{Host: 53}), ports(manifest.Port{Host: 53}, manifest.Port{Host: 53, Protocol: "udp"}), []string{"publishes port 53/udp of the node"}},
		{"another port inside the container", ports(web), ports(manifest.Port{Name: "other", Container: 81, Host: 8080}), nil},
		{"one port fewer", ports(web), nil, nil},
		{"a web interface", nil, webInterface, []string{"serves its web interface at port 18080 of the node"}},
		{"a port beside the web interface", webInterface, func(m *manifest.Manifest) {
			m.Interfaces = served
			ports(web, manifest.Port{Name: "p2p", Host: 8333})(m)
		}, []string{"publishes port 8333/tcp of the node"}},
		{"a web interface that is one no more", webInterface, ports(web), []string{"publishes port 8080/tcp of the node"}},
		{"root by name", nil, user("0"), []string{"may run as root in its container a"}},
		{"root by the image's own user", nil, user(""), []string{"may run as root in its container a"}},
		{"root, which it could be before", user(""), user("0:0"), nil},
		{"no root any more", user("0"), nil, nil},
		{"one more container as root", nil, func(m *manifest.Manifest) { m.Containers = append(m.Containers, manifest.Container{Name: "b"}) }, []string{"may run as root in its container b"}},
		{"a requirement", nil, requires(nil), []string{"requires bitcoin, joins its network, and installs it where it is missing"}},
		{"a setting of another", requires(nil), requires(map[string]string{"txindex": "1"}), []string{`changes the setting txindex of bitcoin to "1"`}},
		{"another value of it", requires(map[string]string{"txindex": "0"}), requires(map[string]string{"txindex": "1"}), []string{`changes the setting txindex of bitcoin to "1"`}},
		{"a container of another's", nil, func(m *manifest.Manifest) { m.Adopts = []manifest.Adoption{{Container: "old"}} }, []string{`takes over the container "old"`}},
		{"the internet", func(m *manifest.Manifest) { m.Network.Internet = new(bool) }, nil, []string{"may reach the internet"}},
		{"the internet no more", nil, func(m *manifest.Manifest) { m.Network.Internet = new(bool) }, nil},
		{"more memory", memory("512M"), memory("2G"), []string{"may use 2G of memory instead of 512M"}},
		{"as much memory in other words", memory("1G"), memory("1024M"), nil},
		{"less memory", memory("1G"), memory("900M"), nil},
		{"a first limit", nil, memory("2G"), nil},
		{"more memory for a container", memory("1G"), own("1G", "2G"), []string{"may use 2G of memory instead of 1G in its container a"}},
		{"less memory for a container", memory("1G"), own("1G", "512M"), nil},
		{"the same in a container's words", own("", "1G"), memory("1G"), nil},
		{"no limit for a container any more", own("", "1G"), nil, []string{"has no memory limit any more in its container a"}},
		{"more for all but one", own("1G", "512M"), own("2G", "512M"), []string{"may use 2G of memory instead of 1G"}},
		{"another container with more", memory("1G"), func(m *manifest.Manifest) {
			memory("1G")(m)
			m.Containers = append(m.Containers, manifest.Container{Name: "b", User: "1", Memory: "4G"})
		}, []string{"may use 4G of memory instead of 1G in its container b"}},
		{"no limit any more", memory("2G"), nil, []string{"has no memory limit any more"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := manifest.NewPrivileges(base(c.from), base(c.to)); !slices.Equal(got, c.want) {
				t.Errorf("%q, expected %q", got, c.want)
			}
		})
	}
}
