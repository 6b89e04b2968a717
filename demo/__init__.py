"""The demo: a store, a flaky provider and two replicas on this machine, and what happens to payments through them."""
