"""Scripts that go into every exported folder and run there without this package."""
