"""The proof: real clients pay through a fleet that is being broken, and the provider's books are the judge."""
