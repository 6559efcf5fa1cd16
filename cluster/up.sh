#!/bin/bash
# From nothing to a healthy world: cluster, images, charts; each step is skipped when its result is there. Ends when the
# metadata service and the fleet of the world are Ready, or says what they wait for.
. "$(dirname "$0")/lib.sh"
cd "$root"
wait_s=${CELLWALL_WAIT_S:-240} # a fleet of 800 is healthy within 180
world=(--context "$context" --namespace cellwall-world)

# One line: what each of the two says about itself.
progress() {
	kubectl "${world[@]}" get metadataservice/world storagefleet/world -o \
		'jsonpath={range .items[*]}{.kind}: {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}; {end}' \
		2>/dev/null || echo "no answer"
}

healthy() {
	kubectl "${world[@]}" wait --for=condition=Ready --timeout=1s metadataservice/world storagefleet/world >/dev/null 2>&1
}

wait_until_healthy() {
	local end_s=$(($(date +%s) + wait_s)) now last=
	until healthy; do
		now=$(progress)
		[ "$now" = "$last" ] || say "waiting: $now"
		last=$now
		(($(date +%s) < end_s)) || refuse "the world is not healthy after $wait_s s ($now)" \
			"See 'make status' and 'kubectl --context $context -n cellwall-world get events'"
		sleep 1
	done
	say "the world is healthy"
}

cluster/create.sh
cluster/images.sh
cluster/load.sh
cluster/install.sh "$context" crds operator world
if [ ! -f charts/cellwall-testbed/Chart.yaml ]; then exit 0; fi
wait_until_healthy
on_path=
[ "$(PATH=${PATH#"$work/bin:"} command -v kubectl)" ] || on_path="  export PATH=$work/bin:\$PATH
"
cat <<NEXT

$on_path  kubectl --context $context -n cellwall-world get metadataservices,metadatacells,storagefleets
  helm test world --kube-context $context -n cellwall-world
  make status
  make down
NEXT
