# A machine for Windows programs, as the first process of namespaces of its own: HOSTNAME TEMPLATE FOLDER. All that it makes
# beside FOLDER goes with its last process.
set -eu
hostname=$1 template=$2 folder=$3
echo "$hostname" > /proc/sys/kernel/hostname
# A disk of its own: how full this machine's is, is nothing that a kubelet should act upon.
mkdir -p "$folder/disk"
mount -o loop "$folder/disk.img" "$folder/disk" || echo 'no disk of its own: this machine has no loop devices'
mkdir -p "$folder/disk/upper" "$folder/disk/work"
mount -t overlay -o "lowerdir=$template,upperdir=$folder/disk/upper,workdir=$folder/disk/work" overlay "$folder/prefix"
# A resolver that cannot be reached would be asked, and waited for.
mount --bind "$folder/hosts" /etc/hosts
mount --bind "$folder/resolv.conf" /etc/resolv.conf
# Wine makes the identity of its firmware from these.
for path in /etc/machine-id /var/lib/dbus/machine-id; do
  [ ! -e "$path" ] || mount --bind "$folder/machine-id" "$path"
done
# Wine's servers keep their sockets there.
mkdir -p /tmp/.wine-0
mount -t tmpfs -o mode=700 tmpfs /tmp/.wine-0
: > "$folder/ready"
# The first process of a machine takes the ended ones away that nobody waits for.
sleep infinity &
wait
