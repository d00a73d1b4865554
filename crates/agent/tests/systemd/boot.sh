# Boots a host, as the first process of namespaces of its own: NAME ROOTFS FOLDER [CGROUP…]. All that it makes beside
# FOLDER and the cgroups goes with its last process.
set -eu
name=$1 rootfs=$2 folder=$3
shift 3
for group in "$@"; do
  mkdir -p "$group"
  case $group in
  */cpuset/*) for file in cpuset.cpus cpuset.mems; do cat "$group/../$file" > "$group/$file"; done ;;
  esac
  echo $$ > "$group/cgroup.procs"
done
# systemd-nspawn keeps locks and sockets there.
mount -t tmpfs tmpfs /run
mount -t overlay -o "lowerdir=$rootfs,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
ip link add eth0 type veth peer name router
ip link set router up
# `network` lets the host set its own network's settings, and nothing of the machine that it runs on.
SYSTEMD_NSPAWN_API_VFS_WRITABLE=network exec systemd-nspawn --quiet --boot --register=no --keep-unit --console=pipe \
  --machine="$name" --hostname=lin01 --uuid=11111111222233334444555555555555 --directory="$folder/root" \
  --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN,CAP_SYS_MODULE
