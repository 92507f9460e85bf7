#!/bin/bash
# Says how many bytes are free for images, and where, and which of the images in the
# arguments are missing.
root=$(podman info --format '{{.Store.GraphRoot}}') || exit
echo "free $(df -B1 --output=avail "$root" | tail -n 1 | tr -d ' ') $root"
for image in "$@"; do
  podman image exists "$image" || echo "missing $image"
done
