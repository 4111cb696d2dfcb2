#!/bin/busybox sh
echo "viridian: init runs"
exec /bin/busybox sleep 1000000
