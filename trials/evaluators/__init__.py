"""One file an evaluator; each is found by being here."""
