"""One file a data source; each is found by being here."""
