"""The event log and the payloads in SQLite, the lease and the sidecar."""
