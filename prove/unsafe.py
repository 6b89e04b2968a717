"""`python -m prove.unsafe MUTANT ARGS`: Holdfast with one safety rule switched off, to show that the proof can fail."""
MUTANTS = {"rash": None}
