#!/bin/bash
# Puts the two images on the workers; those that a worker has are skipped.
. "$(dirname "$0")/lib.sh"
images=("$services_image" "$operator_image")
ids=$(docker image inspect -f '{{.Id}}' "${images[@]}")

# Each node notes what was put on it: kind itself asks a tool that the node image built from source does not have.
missing=()
for node in $(kind get nodes --name "$cluster" 2>/dev/null | grep -v control-plane); do
	[ "$(docker exec "$node" cat /kind/loaded 2>/dev/null)" = "$ids" ] || missing+=("$node")
done
[ ${#missing[@]} -gt 0 ] || exit 0
say "loading the images into ${#missing[@]} nodes"
logged kind-load kind load docker-image --name "$cluster" --nodes "$(IFS=,; echo "${missing[*]}")" "${images[@]}"
for node in "${missing[@]}"; do docker exec -i "$node" cp /dev/stdin /kind/loaded <<<"$ids"; done
