#!/bin/busybox sh
# The first process of the machine in which guests run nested: it has KVM and runs the payload's program.
export PATH=/bin HOME=/ TERM=dumb
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
