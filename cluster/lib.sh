# Shared by the scripts of this folder (sourced, never run): where things are, how progress and refusals are said.
# Sets names and defines functions; does nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is built for the cluster; images live in Docker, their build context in build/images.
work=${CELLWALL_BUILD_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cellwall-build}
cluster=${CELLWALL_CLUSTER:-cellwall}
context=kind-$cluster
export PATH=$work/bin:$PATH

. "$root/cluster/versions.sh"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
services_image=cellwall/services:$version
operator_image=cellwall/operator:$version

# One clock for a whole `make up`: scripts that call each other inherit it.
export CELLWALL_STARTED_S=${CELLWALL_STARTED_S:-$(date +%s)}

say() { printf '[%4d s] %s\n' "$(($(date +%s) - CELLWALL_STARTED_S))" "$*" >&2; }

# refuse WHAT-IS-WRONG WHAT-TO-DO
refuse() {
	printf '%s: %s. %s\n' "$(basename "$0")" "$1" "$2" >&2
	exit 3
}

have() { command -v "$1" >/dev/null 2>&1; }

# logged NAME COMMAND...: the command's output goes to a file; where it fails, its end is shown.
logged() {
	local log=$work/log/$1.log
	shift
	mkdir -p "$work/log"
	if ! "$@" >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		refuse "'$1 ${2-}' failed" "Its whole output is in $log; after mending the cause, run this again: finished steps are skipped"
	fi
}

# space MIB WHAT-FOR: refuses early where the disk would fill up half-way.
space() {
	local free_mib
	mkdir -p "$work"
	free_mib=$(df -Pm "$work" | awk 'NR == 2 {print $4}')
	((free_mib >= $1)) || refuse "$2 needs $1 MiB of disk; $work has $free_mib" \
		"Free some, or set CELLWALL_BUILD_DIR to a folder on another disk"
}

# stamp FILE-OR-FOLDER...: one short name for the content of all of them (paths count, times do not).
stamp() {
	(cd "$root" && find "$@" -type f ! -path '*/__pycache__/*' ! -path '*.egg-info/*' -print0 | LC_ALL=C sort -z |
		xargs -0 sha256sum | sha256sum | cut -c1-16)
}

# image_has_stamp IMAGE STAMP
image_has_stamp() {
	[ "$(docker image inspect -f '{{index .Config.Labels "cellwall.stamp"}}' "$1" 2>/dev/null)" = "$2" ]
}

cluster_exists() { have kind && kind get clusters 2>/dev/null | grep -qx "$cluster"; }

# Some virtual machines take this capability away; privileged containers ask for it.
lacks_sys_resource() {
	local bounding
	bounding=$(sed -n 's/^CapBnd:\s*//p' /proc/self/status)
	((!((16#$bounding >> 24) & 1)))
}
