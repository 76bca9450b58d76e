"""Says what is in the bucket: snapshots, manifests, and how new objects join them."""
