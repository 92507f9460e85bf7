module ui

go 1.24
