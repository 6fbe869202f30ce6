#!/bin/busybox sh
# The first process of the virtual machine: see initramfs.rs. What goes to descriptor 3 is read by boot.rs.
busybox() { /bin/busybox "$@"; }
busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1 3>/dev/ttyS1
busybox stty raw -echo <&3
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t tracefs tracing /sys/kernel/tracing
busybox mount -t cgroup2 cgroup /sys/fs/cgroup
busybox mount -t tmpfs run /run
busybox mount -t tmpfs tmp /tmp
while read -r module; do busybox insmod "$module"; done </modules
echo "booted $(busybox uname -r)" >&3
export PATH=/bin TRACER_BIN=/bin/tracer LAB_OWN_MACHINE=yes
lab check $(busybox cat /arguments) >&3
echo "ended $?" >&3
busybox poweroff -f
