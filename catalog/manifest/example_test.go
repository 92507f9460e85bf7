package manifest_test

import (
	"errors"
	"fmt"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const feeds = `
apiVersion: archipelago/v1
id: feeds
name: Feeds
version: 2.1.0
containers:
  - name: feeds-db
    image: {ref: docker.io/library/postgres:17, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
    user: "999:999"
    volumes: [{name: db, path: /var/lib/postgresql/data, uid: 999, gid: 999}]
    health: {exec: [pg_isready], interval: 2s, start_period: 60s}
  - name: feeds
    image: {build: image}
    depends_on: [{container: feeds-db, condition: healthy}]
    ports: [{name: web, container: 8080, host: 8090}]
interfaces:
  web: {port: web, path: /, expect: {status: 200, title: Feeds, selector: body}}
canary:
  exec:
    container: feeds-db
    write: [psql, -U, postgres, -c, "CREATE TABLE IF NOT EXISTS canary (v text); INSERT INTO canary VALUES ('{{canary}}')"]
    read: [psql, -U, postgres, -tAc, "SELECT v FROM canary WHERE v = '{{canary}}'"]
budget: {start: 90s, reboot: 3m}
`

// A manifest is all that a node needs to know of an application.
func Example() {
	m, err := manifest.Parse("feeds.yaml", []byte(feeds))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m)
	for _, c := range m.Containers {
		how := "is built by the publisher"
		if c.Image.Build == "" {
			how = "is pulled from " + c.Image.Ref
		}
		fmt.Println(c.Name, how)
	}
	fmt.Println("ports of the node:", m.NodePorts())
	fmt.Println("time to start:", m.StartBudget())
	// Output:
	// feeds 2.1.0
	// feeds-db is pulled from docker.io/library/postgres:17
	// feeds is built by the publisher
	// ports of the node: [8090 18090]
	// time to start: 1m30s
}

// Every problem of a manifest is reported at once, with its place.
func ExampleParse_problems() {
	_, err := manifest.Parse("bad.yaml", []byte(`apiVersion: archipelago/v1
id: Feeds
name: Feeds
version: 2.1.0
privileged: true
containers:
  - name: feeds
    image: {ref: docker.io/library/feeds:2}
`))
	var e *manifest.Error
	if errors.As(err, &e) {
		for _, p := range e.Problems {
			fmt.Println(p)
		}
	}
	// Output:
	// bad.yaml:2:5: id: "Feeds" is not valid here; expected lower-case letters, digits and hyphens, at most 63, such as web-db
	// bad.yaml:5:1: privileged: unknown field; applications run rootless and unprivileged, the language has no way to ask for more
	// bad.yaml:8:12: containers[0].image: expected either build, or ref and digest
}
