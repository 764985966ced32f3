"""Gates, one a file; every module here is imported by discovery."""
