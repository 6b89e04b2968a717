"""A flaky fake payment provider: a process of its own, to prove a payment proxy's promises against."""
