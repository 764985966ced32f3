"""One file a zero-cost proxy, named by its kind; each is found by being here."""
