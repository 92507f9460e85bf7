#!/bin/sh
# socket-holders.sh INODE...: for each socket that a process of this user holds, a line
# "INODE PID NAME".
set -eu
for inode; do
	find /proc/[0-9]*/fd -maxdepth 1 -lname "socket:\\[$inode\\]" -print 2>/dev/null | while IFS=/ read -r _ _ pid _; do
		read -r name <"/proc/$pid/comm" && echo "$inode $pid $name"
	done || true
done
