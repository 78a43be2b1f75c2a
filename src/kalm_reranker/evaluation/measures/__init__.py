"""Numbers of a run against judgements, and of two runs against each other."""
