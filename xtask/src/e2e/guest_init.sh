#!/bin/busybox sh
# The first process of a guest: loads the drivers and serves a root shell on the second serial port (COM2).
export PATH=/usr/sbin:/sbin:/usr/bin:/bin HOME=/ TERM=dumb
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mkdir -p /run /tmp /mnt /root /var/lib /var/run /dev/shm
/bin/busybox --install -s /bin

words=$(cat /proc/cmdline)
skip=
for word in $words; do
    case $word in e2e.skip=*) skip=",${word#e2e.skip=},";; esac
done
while read -r name; do
    case $skip in *",$name,"*) continue;; esac
    # Parameters as modprobe takes them from the kernel's command line.
    parameters=
    for word in $words; do
        case $word in "$name".*=*) parameters="$parameters ${word#*.}";; esac
    done
    insmod "/modules/$name.ko" $parameters 2> /dev/console
done < /modules/order
ip link set lo up

serve() {
    stty raw -echo
    while IFS=' ' read -r id code; do
        case $id in '' | *[!0-9]*) continue;; esac
        at=/run/shell.$id
        echo "$code" | base64 -d > "$at" 2> /dev/null
        sh "$at" > "$at.out" 2> "$at.err" < /dev/null
        status=$?
        echo "@out $id"
        [ -s "$at.out" ] && base64 "$at.out"
        echo "@err $id"
        [ -s "$at.err" ] && base64 "$at.err"
        echo "@end $id $status"
        rm -f "$at" "$at.out" "$at.err"
    done
}
while :; do
    serve < /dev/ttyS1 > /dev/ttyS1
    sleep 1
done
