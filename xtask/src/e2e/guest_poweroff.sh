#!/bin/busybox sh
# Called by the kernel for an ordered shutdown: there is no init to ask.
/bin/busybox sync
exec /bin/busybox poweroff -f
