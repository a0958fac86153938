module gort-benches

go 1.25
