#!/bin/busybox sh
# The first process of the machine in which guests run nested: it has KVM and runs the payload's program.
export PATH=/bin HOME=/ TERM=dumb

# A machine's usual root is a mounted file system: programs that shut themselves in (passt) cannot leave this first one.
if [ ! -e /root-is-mounted ]; then
    /bin/busybox mkdir /mounted
    /bin/busybox mount -t tmpfs -o size=90%,mode=755 root /mounted
    for path in /*; do
        [ "$path" = /mounted ] || /bin/busybox cp -a "$path" /mounted/
    done
    : > /mounted/root-is-mounted
    exec /bin/busybox switch_root /mounted /init
fi
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mkdir -p /run /tmp /payload /logs /dev/net /dev/shm
/bin/busybox --install -s /bin
while read -r name; do
    insmod "/modules/$name.ko"
done < /modules/order
ip link set lo up
stty -echo < /dev/console

# A snapshot is taken here. The disks come afterwards: nothing of theirs may be remembered in it.
echo "@ready"
read -r go < /dev/console
echo "@started"
while read -r name; do
    insmod "/modules/$name.ko"
done < /modules/late
cd /payload
cpio -i -d -m < /dev/vda 2> /dev/null
./linux-guest-tests /payload/plan.json
cd /logs
find . | cpio -o -H newc 2> /dev/null > /dev/vdb
sync
echo "@over"
poweroff -f
