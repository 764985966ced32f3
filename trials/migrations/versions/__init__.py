"""The steps, one a file; the file name begins with the version it leads to."""
