#!/bin/bash
# Names what would have a say in a test on this node beside the gate. $1 is the node's data
# directory.
set -e
images=$(podman images --format '{{.Repository}}:{{.Tag}}')
containers=$(podman ps --all --format '{{.Names}} {{.Label "io.archipelago.app"}}')
while read -r image; do
  case $image in localhost/*:local) echo "image $image" ;; esac
done <<<"$images"
while read -r name app; do
  [ -z "$name" ] || [ -n "$app" ] || echo "container $name"
done <<<"$containers"
subscription=$1/_daemon/state/subscription
if [ -e "$subscription/subscription.json" ]; then echo "follows $subscription/subscription.json"; fi
echo looked
