module cellwall.dev/cluster/small

go 1.24.0
