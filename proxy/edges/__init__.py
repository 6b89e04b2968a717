"""The real world: sockets, Redis, files, logs. Nothing in here decides anything about a payment."""
