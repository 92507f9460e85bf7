package findings

import (
	"encoding/json"
	"io"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// The parts of SARIF 2.1.0 (OASIS) that are used.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
	}
)

// SARIF tells code-scanning programs of every finding; version is the program's.
func SARIF(w io.Writer, version string, files []File) error {
	driver := sarifDriver{Name: "archy", Version: version, InformationURI: manifest.Page}
	for _, id := range slices.Sorted(maps.Keys(manifest.Rules)) {
		driver.Rules = append(driver.Rules, sarifRule{id, sarifText{manifest.Rules[id]}})
	}
	results := []sarifResult{}
	for _, f := range files {
		f.each(func(p manifest.Problem, warning bool) {
			text := p.Text()
			if p.Field != "" {
				text = p.Field + ": " + text
			}
			where := sarifPhysical{Artifact: sarifArtifact{uri(p.File)}}
			if p.Line > 0 {
				where.Region = &sarifRegion{p.Line, p.Column}
			}
			results = append(results, sarifResult{p.Rule, severity(warning), sarifText{text + "\n" + docs(p)}, []sarifLocation{{where}}})
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{
		Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{Tool: sarifTool{driver}, ColumnKind: "unicodeCodePoints", Results: results}},
	})
}
