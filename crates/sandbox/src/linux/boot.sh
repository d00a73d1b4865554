# Boots a Debian host, as the first process of namespaces of its own:
# NAME HOSTNAME UUID ROOTFS FOLDER base|node [CGROUP…]. All that it makes beside FOLDER and the cgroups goes with its
# last process.
set -eu
name=$1 hostname=$2 uuid=$3 rootfs=$4 folder=$5 flavour=$6
shift 6
for group in "$@"; do
  mkdir -p "$group"
  case $group in
  */cpuset/*) for file in cpuset.cpus cpuset.mems; do cat "${group%/*}/$file" > "$group/$file"; done ;;
  esac
  echo $$ > "$group/cgroup.procs"
done
# systemd-nspawn keeps locks and sockets there.
mount -t tmpfs tmpfs /run
mount -t overlay -o "lowerdir=$rootfs,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
set -- --capability=CAP_NET_ADMIN,CAP_SYS_MODULE
if [ "$flavour" = node ]; then
  # Docker and the kubelet mount file systems, also overlays, which cannot lie on an overlay; and they act upon how full a
  # disk is, so that it is not this machine's.
  mkdir -p "$folder/disk"
  mount -o loop "$folder/disk.img" "$folder/disk" || echo 'no disk of its own: this machine has no loop devices'
  set -- --capability=all --system-call-filter='@keyring bpf perf_event_open'
  for path in docker containerd kubelet; do
    mkdir -p "$folder/disk/$path"
    set -- "$@" --bind="$folder/disk/$path:/var/lib/$path"
  done
fi
# `network` lets the host set its own network's settings, and nothing of the machine that it runs on.
SYSTEMD_NSPAWN_API_VFS_WRITABLE=network exec systemd-nspawn --quiet --boot --register=no --keep-unit --console=pipe \
  --machine="$name" --hostname="$hostname" --uuid="$uuid" --directory="$folder/root" \
  --network-namespace-path=/proc/self/ns/net "$@"
