#!/bin/bash
# Removes what `make up` made: the cluster with its containers and volumes, the network that kind made when no other
# cluster uses it, and the Docker daemon if it was started here and runs nothing else. Images and the work folder stay.
. "$(dirname "$0")/lib.sh"

if ! have docker || ! docker info >/dev/null 2>&1; then
	say "no Docker daemon answers: there is nothing to remove"
	exit 0
fi
if cluster_exists; then
	say "removing cluster $cluster"
	logged kind-delete kind delete cluster --name "$cluster"
fi
docker ps --all --quiet --filter "label=io.x-k8s.kind.cluster=$cluster" | xargs -r docker rm --force --volumes >/dev/null
rm -f "$work/kind-$cluster.yaml"

if [ -z "$(docker ps --all --quiet --filter label=io.x-k8s.kind.cluster)" ] && docker network inspect kind >/dev/null 2>&1; then
	docker network rm kind >/dev/null && say "removed the network of kind"
fi
daemon=$(cat "$work/dockerd.pid" 2>/dev/null || true)
if [ -n "$daemon" ] && [ "$(cat "/proc/$daemon/comm" 2>/dev/null)" = dockerd ] && [ -z "$(docker ps --quiet)" ]; then
	say "ending the Docker daemon that was started for it"
	kill "$daemon"
	for _ in $(seq 60); do
		[ -d "/proc/$daemon" ] || break
		sleep 0.5
	done
fi
say "nothing is left but images, in Docker, and $work"
