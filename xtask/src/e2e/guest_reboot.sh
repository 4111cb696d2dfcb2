#!/bin/busybox sh
# Called by the kernel for an ordered restart: there is no init to ask.
/bin/busybox sync
exec /bin/busybox reboot -f
