#!/bin/sh
# Gives a host in namespaces what a machine of its own has.
set -u
# Docker and the kubelet make control groups.
for hierarchy in /sys/fs/cgroup/*/; do
  mount -o remount,bind,rw "$hierarchy" || :
done
# The kubelet reads the kernel's log and ends where there is none.
[ -e /dev/kmsg ] || ln -s /dev/null /dev/kmsg
# The kubelet and kube-proxy set these, and they are the whole machine's: here they find the values that they want, and
# write into files of the host.
while read -r path value; do
  copy=/run/sandbox/$(echo "$path" | tr / -)
  mkdir -p /run/sandbox
  echo "$value" > "$copy"
  [ ! -e "/proc/sys/$path" ] || mount --bind "$copy" "/proc/sys/$path"
done <<'END'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
net/netfilter/nf_conntrack_max 131072
END
# kube-proxy reads the size of the table of connections, and ends where it cannot. systemd-nspawn gives a /sys without
# modules.
if [ ! -e /sys/module ]; then
  mount -o remount,bind,rw /sys
  mkdir -p /sys/module/nf_conntrack/parameters
  echo 32768 > /sys/module/nf_conntrack/parameters/hashsize
  mount -o remount,bind,ro /sys
fi
exit 0
