"""See that a log only grows: keep the newest checkpoint of each log, and cosign what continues it. It knows no room."""
