module explorer

go 1.24
