#!/bin/bash
# Makes sure that a Docker daemon answers: the machine's own, else (as root on Debian) one that is installed and started
# here. A machine without CAP_SYS_RESOURCE gets a runtime that can do without it.
. "$(dirname "$0")/lib.sh"

answers() { have docker && docker info >/dev/null 2>&1; }
! answers || exit 0

case $(docker info 2>&1 || true) in
*"permission denied"*) refuse "this user may not use Docker" "Join the docker group, or run this as root" ;;
esac
[ "$(id -u)" = 0 ] || refuse "no Docker daemon answers, and only root can start one" "Start Docker, or run this as root"
if ! have dockerd || ! have iptables; then
	have apt-get || refuse "Docker is not here, and this is no Debian to install it on" "Install and start Docker"
	say "installing Docker from Debian's packages"
	logged apt-update apt-get update -qq
	logged apt-docker env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		containerd docker.io iptables runc
	! answers || exit 0 # where there is an init system, the package has started it
fi

mkdir -p "$work"
runtime='{}'
if lacks_sys_resource; then
	"$root/cluster/from-source/binaries.sh" runc-lean
	runtime='{"runtimes": {"lean": {"path": "'$work'/bin/runc-lean"}}, "default-runtime": "lean"}'
fi
echo "$runtime" >"$work/dockerd.json"
say "starting dockerd"
# its pid file tells down.sh that this daemon is ours to end
setsid nohup dockerd --config-file "$work/dockerd.json" --pidfile "$work/dockerd.pid" >"$work/dockerd.log" 2>&1 </dev/null &
for _ in $(seq 120); do
	! answers || exit 0
	sleep 0.5
done
tail -n 5 "$work/dockerd.log" >&2
refuse "dockerd did not answer within a minute" "Its log is $work/dockerd.log"
