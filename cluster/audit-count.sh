#!/bin/bash
# audit-count.sh [SECONDS]: counts who writes what to the API server in the next so many seconds (300), leases apart.
# audit-count.sh FROM TO: the same between two instants of the past (UTC, RFC 3339). Prints a line for each kind of write:
# how many, verb, resource, who. What is in the log at all: audit.yaml. Reads only.
. "$(dirname "$0")/lib.sh"
node=$cluster-control-plane
instant() { docker exec "$node" date -u +%Y-%m-%dT%H:%M:%S.%6NZ; }

docker exec "$node" test -f /var/log/kubernetes/audit.log 2>/dev/null ||
	refuse "cluster $cluster has no audit log" "'make up' makes a cluster that has one"
if [ $# -lt 2 ]; then
	seconds=${1:-300}
	from=$(instant)
	say "counting for $seconds s"
	sleep "$seconds"
	to=$(instant)
else
	from=$1 to=$2
fi

# One JSON object a line; the first field of a name is the one that is meant.
docker exec "$node" sh -c 'cat /var/log/kubernetes/audit*.log' | awk -v from="$from" -v to="$to" '
	function field(name) {
		if (!match($0, "\"" name "\":\"[^\"]*\"")) return ""
		return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 5)
	}
	# Of equal length, instants are compared as text.
	function whole(instant) {
		sub(/Z$/, "", instant)
		if (instant !~ /[.]/) instant = instant "."
		return substr(instant "000000", 1, length("2026-01-01T00:00:00.000000"))
	}
	BEGIN { from = whole(from); to = whole(to) }
	{
		at = whole(field("stageTimestamp"))
		if (at < from || at >= to) next
		part = field("subresource")
		count[field("verb") " " field("resource") (part ? "/" part : "") " " field("username")]++
		all++
	}
	END {
		for (what in count) printf "%6d %s\n", count[what], what | "sort -rn"
		close("sort -rn")
		printf "%d writes from %s to %s UTC\n", all, from, to
	}'
