package orchestrator

import "github.com/archipelago-cloud/archipelago/catalog/manifest"

// pair is an application of two members, of which one has data.
func pair() *manifest.Manifest {
	return &manifest.Manifest{ID: "pair", Name: "Pair", Version: "1", Migration: 2, Containers: []manifest.Container{
		{Name: "pair", DependsOn: []manifest.Dependency{{Container: "pair-db", Condition: "healthy"}}},
		{Name: "pair-db", Health: &manifest.Health{Exec: []string{"ready"}}, Volumes: []manifest.Volume{{Name: "db", Path: "/data"}}},
	}}
}
