"""Published networks, one family a file; every module here is imported by discovery."""
