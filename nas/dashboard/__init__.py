"""The dashboard: a store in the browser. `app.py` is the application, `pages/` one page a file."""
